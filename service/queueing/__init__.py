"""Queue between the service and the workers, on Redis and RQ. Runs are kept in the store; the queue holds only their ids."""
