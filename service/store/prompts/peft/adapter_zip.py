"""Zip files of PEFT adapters: safe reading of untrusted zips, and deterministic writing.

Nothing is unpacked to disk. Path traversal, oversized entries and pickles are rejected before decompression.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping

from service.errors import InvalidRequest, TooLarge

MAX_ENTRIES = 256
MAX_CONFIG_BYTES = 1 << 20
MAX_WEIGHTS_BYTES = 256 << 20

CONFIG_NAME = "adapter_config.json"
WEIGHTS_NAME = "adapter_model.safetensors"

_PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
BROKEN_ZIP = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OverflowError,
)
"""What the library raises for a damaged zip file."""

# The library limits decompression to the requested size only for these two.
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_EPOCH = (1980, 1, 1, 0, 0, 0)


def read_adapter_zip(data: bytes, *, max_weights_bytes: int = MAX_WEIGHTS_BYTES) -> tuple[bytes, bytes]:
    """``adapter_config.json`` and ``adapter_model.safetensors`` of a zipped PEFT adapter directory.

    The files are at the root or in a single folder; other files are ignored.

    Raises:
        InvalidRequest: Not a zip file of an adapter; pickled weights; path traversal; encrypted entries.
        TooLarge: Too many entries or bytes.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = _entries_of(archive)
            config = _inflate(archive, entries, CONFIG_NAME, max_bytes=MAX_CONFIG_BYTES)
            weights = _inflate(archive, entries, WEIGHTS_NAME, max_bytes=max_weights_bytes)
    except BROKEN_ZIP as error:
        raise InvalidRequest(
            "The zip file cannot be read: it is truncated, damaged, encrypted, or not a zip file."
        ) from error
    return config, weights


def write_adapter_zip(config: bytes, *, weights: bytes) -> bytes:
    """Zip the two files; deterministic."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression=zipfile.ZIP_STORED) as archive:
        for name, content in ((CONFIG_NAME, config), (WEIGHTS_NAME, weights)):
            archive.writestr(zipfile.ZipInfo(name, date_time=_EPOCH), content)
    return buffer.getvalue()


def _entries_of(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Files by name, relative to the top folder if there is a single one."""
    infos = [info for info in archive.infolist() if not info.is_dir()]
    if len(infos) > MAX_ENTRIES:
        raise TooLarge(f"The zip file has {len(infos)} files; the limit is {MAX_ENTRIES}. Zip only the adapter.")
    for info in infos:
        parts = info.filename.replace("\\", "/").split("/")
        if ".." in parts or parts[0] == "" or ":" in parts[0]:
            raise InvalidRequest("The zip file has a path outside of it; zip the adapter's directory itself.")
    # Finder adds a folder of its own.
    infos = [info for info in infos if not info.filename.startswith("__MACOSX/")]
    tops = {info.filename.partition("/")[0] for info in infos}
    is_nested = len(tops) == 1 and all("/" in info.filename for info in infos)
    skip = len(tops.pop()) + 1 if is_nested else 0
    entries: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        if entries.setdefault(info.filename[skip:], info) is not info:
            raise InvalidRequest(f"The zip file has {info.filename[skip:][:80]!r} twice.")
    return entries


def _inflate(archive: zipfile.ZipFile, entries: Mapping[str, zipfile.ZipInfo], name: str, *, max_bytes: int) -> bytes:
    info = entries.get(name)
    if info is None:
        raise InvalidRequest(_advice_for_missing(name, entries))
    if info.file_size > max_bytes:
        raise TooLarge(f"{name} has {info.file_size} bytes; the limit is {max_bytes}.")
    if info.compress_type not in _COMPRESSIONS:
        raise InvalidRequest(f"{name} must be stored or deflated in the zip file; it uses another compression.")
    with archive.open(info) as file:
        # With an explicit size, since otherwise the library decompresses everything before it checks the declared size.
        return file.read(info.file_size + 1)


def _advice_for_missing(name: str, entries: Mapping[str, zipfile.ZipInfo]) -> str:
    if name == WEIGHTS_NAME and any(entry.endswith(_PICKLE_SUFFIXES) for entry in entries):
        return (
            f"The adapter's weights are pickled, which is not supported. Save it again with "
            f"save_pretrained(…, safe_serialization=True), which writes {WEIGHTS_NAME}."
        )
    return f"The zip file must have {CONFIG_NAME} and {WEIGHTS_NAME} at its root or in one folder; {name} is missing."
