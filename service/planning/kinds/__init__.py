"""One file for each kind of run: validate a spec and fill in its defaults."""
