"""API keys: which are accepted, and what each may use."""
