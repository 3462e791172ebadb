"""Runs of the kind ``map``: points from sources, a basis fitted to each layer, and all points projected by it.

Sources are in ``service.map_sources``, bases in ``service.projection``: the API process uses both to project later points.
"""
