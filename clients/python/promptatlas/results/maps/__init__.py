"""Maps: their points in columns, and plots of them."""
