"""How prompts of each kind are drawn and trained, one file a kind."""
