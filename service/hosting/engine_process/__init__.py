"""The engine process: its LitAPI, its loop, and the loading of models."""
