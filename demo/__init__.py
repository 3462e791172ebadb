"""The demo model: a procedural micro-world, the corpus and tasks told about it, training and evaluation."""
