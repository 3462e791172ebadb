"""The tours, one module per model."""
