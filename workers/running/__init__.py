"""How a worker runs one run: claims it, reports on it, keeps its checkpoints, and lets go when it must."""
