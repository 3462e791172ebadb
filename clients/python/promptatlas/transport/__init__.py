"""Transport of requests over httpx: retries, event streams, files. Knows no route."""
