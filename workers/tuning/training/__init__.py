"""The trainer: members of a run side by side in one forward. Knows the engine and torch; no store, no queue."""
