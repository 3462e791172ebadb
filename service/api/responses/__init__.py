"""From results to HTTP responses: errors, tensors, runs, maps, and the OpenAPI document."""
