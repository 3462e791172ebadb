"""One module per kind of run: validates a spec and fills in its defaults."""
