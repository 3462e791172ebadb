"""Two files out of a zip from outside, safely; and a zip of two files that is always the same for the same content.

Nothing is unpacked to disk. Names that climb out, absurd sizes, and pickles are refused before anything is inflated.
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
_BROKEN = (
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
# Only these two are inflated no further than asked.
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_EPOCH = (1980, 1, 1, 0, 0, 0)


def read_adapter_zip(data: bytes, *, max_weights_bytes: int = MAX_WEIGHTS_BYTES) -> tuple[bytes, bytes]:
    """``adapter_config.json`` and ``adapter_model.safetensors`` of a zipped PEFT adapter directory.

    The files stand at the root or in one folder; others beside them are not read.

    Raises:
        InvalidRequest: no zip, or not of an adapter; pickled weights; names that climb out; encrypted entries.
        TooLarge: more entries or bytes than are taken.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = _entries_of(archive)
            config = _inflate(archive, entries, CONFIG_NAME, max_bytes=MAX_CONFIG_BYTES)
            weights = _inflate(archive, entries, WEIGHTS_NAME, max_bytes=max_weights_bytes)
    except _BROKEN as error:
        raise InvalidRequest(
            "This is no zip file that can be read: it is cut, damaged, encrypted or no zip."
        ) from error
    return config, weights


def write_adapter_zip(config: bytes, *, weights: bytes) -> bytes:
    """A zip with the two files at its root; the same content gives the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression=zipfile.ZIP_STORED) as archive:
        for name, content in ((CONFIG_NAME, config), (WEIGHTS_NAME, weights)):
            archive.writestr(zipfile.ZipInfo(name, date_time=_EPOCH), content)
    return buffer.getvalue()


def _entries_of(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Files by name, relative to the one folder that holds everything if there is one."""
    infos = [info for info in archive.infolist() if not info.is_dir()]
    if len(infos) > MAX_ENTRIES:
        raise TooLarge(f"The zip holds {len(infos)} files; at most {MAX_ENTRIES} are taken. Zip the adapter alone.")
    for info in infos:
        parts = info.filename.replace("\\", "/").split("/")
        if ".." in parts or parts[0] == "" or ":" in parts[0]:
            raise InvalidRequest("The zip holds a name that leads out of it; zip the adapter's directory itself.")
    # Finder adds its own folder beside the one that was zipped.
    infos = [info for info in infos if not info.filename.startswith("__MACOSX/")]
    tops = {info.filename.partition("/")[0] for info in infos}
    is_nested = len(tops) == 1 and all("/" in info.filename for info in infos)
    skip = len(tops.pop()) + 1 if is_nested else 0
    entries: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        if entries.setdefault(info.filename[skip:], info) is not info:
            raise InvalidRequest(f"The zip holds {info.filename[skip:][:80]!r} twice.")
    return entries


def _inflate(archive: zipfile.ZipFile, entries: Mapping[str, zipfile.ZipInfo], name: str, *, max_bytes: int) -> bytes:
    info = entries.get(name)
    if info is None:
        raise InvalidRequest(_advice_for_missing(name, entries))
    if info.file_size > max_bytes:
        raise TooLarge(f"{name} has {info.file_size} bytes; at most {max_bytes} are taken.")
    if info.compress_type not in _COMPRESSIONS:
        raise InvalidRequest(f"{name} must be stored or deflated in the zip, as usual; it is packed in another way.")
    with archive.open(info) as file:
        # Asked for by number: without one the library inflates all there is before it sees that the size was a lie.
        return file.read(info.file_size + 1)


def _advice_for_missing(name: str, entries: Mapping[str, zipfile.ZipInfo]) -> str:
    if name == WEIGHTS_NAME and any(entry.endswith(_PICKLE_SUFFIXES) for entry in entries):
        return (
            f"The adapter's weights are pickled, which is never read here. Save it again with "
            f"save_pretrained(…, safe_serialization=True), which writes {WEIGHTS_NAME}."
        )
    return f"The zip must hold {CONFIG_NAME} and {WEIGHTS_NAME}, at its root or in one folder; {name} is missing."
