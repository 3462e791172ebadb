"""HTTP responses: errors, tensors, runs, and the OpenAPI document."""
