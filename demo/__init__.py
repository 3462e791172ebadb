"""The demo model: a procedural micro-world, its corpus and tasks, training and evaluation; the demo and the study."""
