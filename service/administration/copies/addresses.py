"""Addresses of stores: local folders and fsspec URLs."""

from __future__ import annotations

import os

import fsspec
from fsspec.implementations.local import LocalFileSystem

from service.errors import InvalidRequest


def address_of(url: str) -> str:
    """The absolute path of a local folder, else the URL."""
    protocol, _ = fsspec.core.split_protocol(url)
    if protocol in (None, "file", "local"):
        return os.path.realpath(str(LocalFileSystem._strip_protocol(url)))
    return url.rstrip("/")


def require_apart(first: str, second: str) -> None:
    """Raise InvalidRequest if one of two stores is inside the other."""
    one, other = (f"{address_of(url)}/" for url in (first, second))
    if one.startswith(other) or other.startswith(one):
        raise InvalidRequest(f"Expected a folder apart from the store, got {second} and the store {first}.")
