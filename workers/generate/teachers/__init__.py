"""Teachers outside: samples from OpenAI-compatible endpoints that the server's settings name."""
