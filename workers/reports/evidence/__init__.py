"""What the findings are measured on, read from the stores and the model."""
