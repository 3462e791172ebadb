"""New points for a map that is there: the vectors of sources, read through the engine process and from the stores.

As workers gather a map's own points, but without torch, and as far as a client may wait for it.
"""
