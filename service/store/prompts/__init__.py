"""Stored prompts: versions, aliases, manifests, the native format, and PEFT import and export."""
