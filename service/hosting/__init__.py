"""Processes of the service: the engine process, the messages between it and the API process, and their supervision."""
