"""Files of models: revisions, and GGUF files as folders that transformers reads."""
