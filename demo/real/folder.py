"""The folder of real data: where it is, which files it has, and the error if one is missing."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

VARIABLE: Final = "PROMPTATLAS_DATA"
_ROOT: Final = Path(__file__).resolve().parents[2]
_SHARED: Final = _ROOT.parent / "shared" / "data"
_OWN: Final = _ROOT / "data"


class DataError(RuntimeError):
    """The real data cannot be used. The message says which file, what was expected and what was found."""


class MissingData(DataError):
    """Files are missing. The message is one sentence that says which files belong where."""


class BadData(DataError):
    """A file has another layout than expected."""

    def __init__(self, path: Path, *, expected: str, got: str) -> None:
        super().__init__(f"{path}: expected {expected}, got {got}")


@dataclass(frozen=True, kw_only=True)
class RealFile:
    """A file of the folder. path: inside the folder. what: its source and its layout."""

    path: str
    what: str


def default_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """`PROMPTATLAS_DATA`, or else ``../shared/data`` next to the repository if it exists, or else ``data/`` inside it."""
    if named := environ.get(VARIABLE):
        return Path(named)
    return _SHARED if _SHARED.is_dir() else _OWN


def require(folder: Path, *, files: Sequence[RealFile]) -> None:
    """Check that all files exist; a missing one is reported before anything slow starts.

    Raises:
        MissingData: at least one file is missing.
    """
    missing = [file for file in files if not (folder / file.path).is_file()]
    if missing:
        named = " and ".join(f"{file.path} ({file.what})" for file in missing)
        raise MissingData(
            f"real data are missing in {folder}: put {named} there, or choose a folder with --data or {VARIABLE}"
        )


def read_text(folder: Path, *, file: RealFile) -> str:
    """The text of a file.

    Raises:
        MissingData: the file does not exist.
        BadData: it is not UTF-8.
    """
    require(folder, files=[file])
    path = folder / file.path
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BadData(
            path, expected="UTF-8", got=f"the byte {error.object[error.start]:#04x} at {error.start}"
        ) from None
