"""Results as Python objects. Knows no HTTP: every result is built from bytes or a file."""
