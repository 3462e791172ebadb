"""The engine process: LitServe interface, engine loop, loading of models."""
