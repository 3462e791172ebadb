"""Inputs of a run in the engine's form: token ids of examples, stored prompts, limits of a batch."""
