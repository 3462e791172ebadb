"""The kind ``map``: points of any sources, gathered layer by layer, a basis fitted to each layer, and all placed on it.

Bases themselves are in service.projection, where later points are placed on them too; here is what fills them.
"""
