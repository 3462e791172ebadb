"""OpenAI-compatible routes: completions and chat completions, complete and streamed."""
