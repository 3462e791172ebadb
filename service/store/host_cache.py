"""The folder for caches of this host: hashes of weights, converted models, copies of prompts.

It can be deleted while nothing is loading.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from service.store.files.addresses import local_folder

CACHE = "cache"
"""Name of the folder in a local store. It is no part of the store: backups and checks leave it out."""


def host_cache_folder(home: str, *, cache: str | None, environ: Mapping[str, str] = os.environ) -> Path:
    """The configured folder; else ``cache`` in a local store; else ``promptatlas`` in the user's folder for caches.

    Args:
        home: URL of the store.
        cache: ``PROMPTATLAS_CACHE``.
        environ: its ``XDG_CACHE_HOME`` is the user's folder for caches (default ``~/.cache``).
    """
    if cache is not None:
        return Path(cache).expanduser()
    if (local := local_folder(home)) is not None:
        return local / CACHE
    user = Path(environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return user / "promptatlas"
