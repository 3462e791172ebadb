"""HTTP requests: authentication, bodies, parameters, deadlines, idempotency, and conversion to requests of the engine."""
