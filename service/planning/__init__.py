"""Validation and completion of run specs in the API process, without torch.

A run that cannot work is refused before a worker sees it. The result of planning is a complete spec: it has every default,
and prompt references are pinned to ``name@version`` (or the requested ``sha256:…``). The run's record also keeps what the
names in the spec resolved to at submission:

    {"base_revision": "…", "datasets": {"demo-qa": "sha256:…"}, "prompts": {"qa@3": "sha256:…"}}

A harvest also has an ``estimate`` there, made without counting tokens: ``n_texts``, ``n_tokens``, ``n_rows`` and ``bytes``.
A ``generate`` run has ``n_items`` and ``n_samples``.

Checks that need token counts are made by the run: it leaves out examples that are longer than the model's context.
"""
