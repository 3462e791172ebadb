"""Routes of runs: the runs themselves, their events and their artifacts."""
