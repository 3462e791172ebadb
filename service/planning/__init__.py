"""Checks of run specs where they come in, without torch: what cannot work is refused before a worker sees it.

What comes out is complete and means the same for ever: a spec of its type with every default written out and prompt
references pinned to ``name@version`` (or the ``sha256:…`` that was asked for), and beside it, for the run's record, what its
names meant when it was asked for:

    {"base_revision": "…", "datasets": {"demo-qa": "sha256:…"}, "prompts": {"qa@3": "sha256:…"}}

A harvest also has an ``estimate`` there, as far as it can be made without counting tokens: ``n_texts``, ``n_tokens``,
``n_rows`` and ``bytes``.

What only counting tokens can tell is left to the run: examples that are longer than the context, which it leaves out.
"""
