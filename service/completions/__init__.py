"""Completions and chats in OpenAI's format: requests of the engine, responses and errors; no HTTP."""
