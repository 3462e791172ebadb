"""The queue between the service and the workers: Redis and RQ. Runs live in the store; here they only stand in line."""
