"""``client.noun.verb()``: each noun, blocking and not, over the same descriptions of calls."""
