"""Converted GGUF files in a cache of this host: each file is converted once, whichever process needs it first.

    gguf/6b1f…-float32-5.23.0-1/          a converted model: config.json, model.safetensors, tokenizer.json, …
    gguf/6b1f…-float32-5.23.0-1.lock      held by the process that converts it; the others wait
    gguf/.6b1f…-float32-5.23.0-1-x8k2/    a conversion under way; without the lock, what a killed process left

A folder appears by one rename, complete and synced. The names contain the sha256 of the file, the dtype of the weights, and
the versions of transformers and of the conversion, so that nothing stale is read.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
import transformers

from service.engine.model.files.gguf_conversion import CONVERSION, convert
from service.engine.model.files.revisions import Revisions
from service.errors import UnsupportedModel

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def open_converted(path: str, *, revision: str, dtype: torch.dtype, cache: Path | None) -> Iterator[Path]:
    """A folder with the converted model of a GGUF file, which may be loaded inside the block.

    Args:
        path: of the file.
        revision: its sha256.
        dtype: of the weights.
        cache: a folder of this host. None: the file is converted into a temporary folder.

    Raises:
        UnsupportedModel: the file cannot be converted, or the cache cannot be written.
    """
    file = Path(path).expanduser()
    if cache is None:
        with tempfile.TemporaryDirectory() as temporary:
            convert(file, Path(temporary), dtype=dtype, label=path)
            yield Path(temporary)
        return
    kind = str(dtype).removeprefix("torch.")
    folder = cache / "gguf" / f"{revision}-{kind}-{transformers.__version__}-{CONVERSION}"
    if not folder.is_dir():
        try:
            _convert_once(file, folder, revision=revision, dtype=dtype, label=path)
        except OSError as error:
            raise UnsupportedModel(
                f"{path}: the converted model cannot be written to {folder.parent} ({error.strerror or error})."
            ) from error
    yield folder


def _convert_once(file: Path, folder: Path, *, revision: str, dtype: torch.dtype, label: str) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    # The kernel releases the lock of a killed process. The file stays: a waiting process may hold it open.
    with Path(f"{folder}.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.is_dir():
            return
        prefix = f".{folder.name}-"
        for left_over in folder.parent.glob(f"{prefix}*"):
            shutil.rmtree(left_over, ignore_errors=True)
        logger.info("converting %s once; this takes some seconds or minutes", label)
        unfinished = Path(tempfile.mkdtemp(prefix=prefix, dir=folder.parent))
        try:
            convert(file, unfinished, dtype=dtype, label=label)
            # Otherwise the weights of a file that was replaced meanwhile would stay here under the hash of the old one.
            if Revisions(None).of_file(file) != revision:
                raise UnsupportedModel(f"{label}: the file changed while it was converted.")
            _sync(unfinished)
            unfinished.rename(folder)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        _sync_folder(folder.parent)


def _sync(folder: Path) -> None:
    for file in folder.iterdir():
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
    _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def gguf_revision(path: str, *, revisions: Revisions) -> str:
    """sha256 of the file; raises UnsupportedModel if it cannot be read."""
    try:
        return revisions.of_file(Path(path).expanduser())
    except OSError as error:
        raise UnsupportedModel(f"{path}: expected a GGUF file, but it cannot be read ({error.strerror}).") from error
