"""Measures of vectors shared by the service and the workers: pure NumPy functions, without torch."""
