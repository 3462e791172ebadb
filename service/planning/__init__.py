"""Can what is asked for be done: specs of runs against models, datasets and prompts, without running anything."""
