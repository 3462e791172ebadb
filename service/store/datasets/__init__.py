"""Datasets: stored, built-in and from the Hugging Face hub; import, templates, splits and examples."""
