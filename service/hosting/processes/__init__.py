"""Processes: supervisor, API server, connections, threads, process set-up, runtime directory."""
