"""LitServe: the LitAPI, the loop that drives the engine, the hub between routes and loop."""
