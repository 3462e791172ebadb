"""The Prompt Atlas service: one frozen model, many tuned prompts, over HTTP."""
