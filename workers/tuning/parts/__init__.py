"""Parts of a run: groups of its members, which several workers train independently of each other."""
