"""``client.noun.verb()``: one module a noun in ``_async``, with the requests that it sends; ``_sync`` is generated from it."""
