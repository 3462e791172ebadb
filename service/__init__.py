"""The Prompt Atlas service: one frozen model and many tuned prompts, over HTTP.

``service.engine`` (models, prompts, activations) and ``service.store`` (prompts, datasets, runs, maps) are also the library
of the workers: ``workers`` imports them, together with ``service.queueing`` and ``service.settings``. The service itself never
imports ``workers``; it names their functions by dotted names.
"""
