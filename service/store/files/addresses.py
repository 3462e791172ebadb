"""Addresses of stores: local folders and fsspec URLs."""

from __future__ import annotations

import os
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem


def local_folder(url: str) -> Path | None:
    """The folder of a store on this host; None for any other store."""
    protocol, _ = fsspec.core.split_protocol(url)
    return Path(LocalFileSystem._strip_protocol(url)) if protocol in (None, "file", "local") else None


def address_of(url: str) -> str:
    """The absolute path of a local folder, else the URL; equal for equal stores."""
    folder = local_folder(url)
    return url.rstrip("/") if folder is None else os.path.realpath(folder)
