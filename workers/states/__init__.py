"""Reading of a model's states in process, for maps, harvests and reports: of texts, with a tuned prompt or without.

Texts are read in batches of bounded size; each row of the result has its text, token and position.
"""
