"""Index for lists of prompts, datasets and runs: rebuilt from the files, and not needed for correct answers."""
