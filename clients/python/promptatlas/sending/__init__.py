"""How calls travel: attempts and their delays, event streams, files. Knows no route."""
