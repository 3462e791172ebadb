"""The HTTP API: routes, and the conversion of requests and responses. Nothing here imports torch."""
