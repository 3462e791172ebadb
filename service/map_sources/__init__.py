"""Sources of a map's points: datasets, texts, prompts, priors, trajectories and the vocabulary, one module each.

A source module turns a source spec into labelled vectors. It does not know how a model is run: it reads through the
interface in ``interface.py``. Workers implement that interface in process (``workers.maps.reader``), the API process through
the engine process (``service.api.engine_reads.map_points``), so that both label and read the same spec alike. No torch here.
"""
