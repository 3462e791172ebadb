"""Reading a model's states, for maps, harvests and reports: of texts or a dataset's examples, under any prompt or none.

Many texts a forward, a bounded number of bytes at a time. What was read says of each row which text, token and position it
is of. Knows the engine and the stores' values; no runs, no HTTP.
"""
