"""Processes: supervisor, API server, process set-up, runtime directory."""
