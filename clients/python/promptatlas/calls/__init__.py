"""What each verb sends and how its answer reads: plain descriptions, no input or output."""
