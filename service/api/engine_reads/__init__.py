"""Reads through the engine process for routes that process the result: points of maps, and nearest tokens of vectors."""
