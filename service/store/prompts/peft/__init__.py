"""Conversion between PEFT's prompt-learning adapters and native prompts."""
