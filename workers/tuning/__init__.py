"""Tuning prompts in front of a frozen model. The core knows the engine and torch; no store, no queue."""
