"""What the API process reports about itself: metrics, access lines and spans."""
