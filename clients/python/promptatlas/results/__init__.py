"""Results as numpy, torch and pandas, read from their file as they are asked for."""
