"""Where a copy of a store is written: what is there already, what is written, and what could not be."""

from __future__ import annotations

from dataclasses import dataclass, field

from service.administration.inventory import Inventory
from service.administration.transfer import copy_file
from service.store.artifacts.manifests import StoredFile
from service.store.files.files import Files


@dataclass
class CopyReport:
    """What a copy did. problems: one sentence each; what they name was not copied."""

    n_copied: int = 0
    n_bytes: int = 0
    n_unchanged: int = 0
    n_removed: int = 0
    problems: list[str] = field(default_factory=list)


class Destination:
    """A store that receives a copy.

    Args:
        files: The store.
        replaces: Whether existing files are replaced; else they stay, and different ones are problems.

    Attributes:
        report: What was done so far.
    """

    def __init__(self, files: Files, *, replaces: bool) -> None:
        self.files = files
        self.replaces = replaces
        self.present = Inventory(files)
        self.report = CopyReport()
        self._kept: set[str] = set()

    def has(self, key: str) -> bool:
        """Whether a file is there, from before or from this copy."""
        return key in self._kept or self.present.get(key) is not None

    def keep(self, key: str) -> None:
        """Leave a file as it is."""
        self._kept.add(key)

    def keep_folder(self, folder: str) -> None:
        """Leave the files of a folder as they are."""
        self._kept.update(entry.key for entry in self.present.under(folder))

    def put_content(self, source: Files, key: str, *, stored: StoredFile) -> bool:
        """Copy the content of an artifact, unless it is there; returns False if it is damaged in the source.

        Raises:
            FileNotFoundError: The source does not have it.
        """
        before = self.present.get(key)
        # The name is unique to its writer, and files appear whole: the same name and size mean the same content.
        if before is not None and before.n_bytes == stored.n_bytes:
            self.unchanged(key)
            return True
        digest = copy_file(source, self.files, key=key)
        if (digest.sha256, digest.n_bytes) != (stored.sha256, stored.n_bytes):
            self.files.remove(key)
            return False
        self._copied(key, digest.n_bytes)
        return True

    def put(self, key: str, data: bytes) -> bool:
        """Write a small file, unless it is there with this content; returns False if another one is there and stays."""
        if self.replaces:
            if self.present.get(key) is not None and self._reads(key, data):
                self.unchanged(key)
                return True
            self.files.put(key, data)
        else:
            try:
                # Exclusively, because a service may use the store.
                self.files.create(key, data)
            except FileExistsError:
                is_same = self._reads(key, data)
                if is_same:
                    self.unchanged(key)
                return is_same
        self._copied(key, len(data))
        return True

    def remove_others(self) -> None:
        """Remove everything that this copy has neither written nor found unchanged: pointers, then manifests, then the rest."""
        # Listed again, because this copy may have written temporary entries of the index of runs.
        others = [entry.key for entry in Inventory(self.files).under("") if entry.key not in self._kept]
        for key in sorted(others, key=_removal_order):
            self.files.remove(key)
            self.report.n_removed += 1

    def problem(self, text: str) -> None:
        """Add a problem, once."""
        if text not in self.report.problems:
            self.report.problems.append(text)

    def _reads(self, key: str, data: bytes) -> bool:
        try:
            return self.files.read(key) == data
        except FileNotFoundError:
            return False

    def unchanged(self, key: str) -> None:
        """Count a file that is there already."""
        self._kept.add(key)
        self.report.n_unchanged += 1

    def _copied(self, key: str, n_bytes: int) -> None:
        self._kept.add(key)
        self.report.n_copied += 1
        self.report.n_bytes += n_bytes


def _removal_order(key: str) -> tuple[int, str]:
    is_pointer = key.startswith(("prompt-hashes/", "runs-unfinished/")) or "/aliases/" in key
    return 0 if is_pointer else 1 if key.endswith("/manifest.json") else 2, key
