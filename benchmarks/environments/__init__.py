"""Environments of their own for software whose packages are not those of the project."""
