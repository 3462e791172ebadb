"""From an HTTP request to the objects the routes work with: bodies, auth, prompts, deadlines, idempotency."""
