"""The routes that follow the OpenAI API: completions and chat, whole and streamed."""
