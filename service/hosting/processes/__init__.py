"""The processes of the service: supervisor, API server, set-up, runtime directory."""
