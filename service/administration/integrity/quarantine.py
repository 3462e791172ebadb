"""Quarantine of damaged artifacts and records: they are moved out of the service's sight, and nothing of them is removed.

quarantine/{time}/{quoted key}    the bytes of a file, under the key that it had
"""

from __future__ import annotations

from contextlib import suppress
from urllib.parse import quote

from service.administration.inventory import QUARANTINE, Inventory
from service.administration.transfer import copy_file
from service.store.artifacts.clock import Clock, utc_now
from service.store.artifacts.manifests import Artifact, manifest_of
from service.store.artifacts.sealed_records import seal
from service.store.artifacts.store import MANIFEST
from service.store.files.files import Files


class Quarantine:
    """Moves files of a store to the quarantine.

    Args:
        files: The store.
        clock: Time in the names of the copies.
    """

    def __init__(self, files: Files, *, clock: Clock = utc_now) -> None:
        self._files = files
        self._folder = f"{QUARANTINE}/{clock():%Y%m%dT%H%M%SZ}"

    def move_record(self, key: str) -> None:
        """Move one file."""
        self._copy(key)
        self._files.remove(key)

    def move_artifact(self, folder: str, *, inventory: Inventory) -> None:
        """Move an artifact: its number or name stays taken where it must not be used again.

        Copies are complete before anything is removed. The manifest goes first, so that nobody reads half of the artifact.
        """
        keys = [entry.key for entry in inventory.under(folder)]
        for key in keys:
            self._copy(key)
        manifest = f"{folder}/{MANIFEST}"
        if folder.startswith("prompts/"):
            # A tombstone, because the number of a version is never used again.
            tombstone = Artifact(folder=folder, label="", files={}, retired=True)
            self._files.put(manifest, seal(manifest_of(tombstone)))
        else:
            self._files.remove(manifest)
        for key in keys:
            if key != manifest:
                self._files.remove(key)

    def _copy(self, key: str) -> None:
        with suppress(FileNotFoundError):
            copy_file(self._files, self._files, key=key, to=f"{self._folder}/{quote(key, safe='')}")
