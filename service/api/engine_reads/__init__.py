"""Reads that routes make through the engine process: states of texts, and nearest tokens of vectors."""
