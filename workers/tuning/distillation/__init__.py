"""Distillation: prompts that reproduce a teacher's texts, next-token distributions or states."""
