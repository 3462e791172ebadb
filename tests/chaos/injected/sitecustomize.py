"""Imported by every Python process at its start: makes writes below a folder fail while a switch file names an error."""

import errno
import os
from typing import Any

_FOLDER = os.environ.get("CHAOS_FAULTY_FOLDER", "")
_SWITCH = os.environ.get("CHAOS_FAULT_SWITCH", "")
_real_write, _real_open, _real_unlink = os.write, os.open, os.unlink


def _fault() -> int | None:
    try:
        with open(_SWITCH) as switch:
            return int(getattr(errno, switch.read().strip()))
    except (OSError, AttributeError):
        return None


def _is_below(path: Any) -> bool:
    return str(path).startswith(_FOLDER)


def _raise(number: int) -> None:
    raise OSError(number, os.strerror(number))


def _write(descriptor: int, data: Any) -> int:
    if (number := _fault()) is not None and _is_below(os.readlink(f"/proc/self/fd/{descriptor}")):
        _raise(number)
    return _real_write(descriptor, data)


def _open(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
    # A full disk still makes empty files and removes old ones; a protected one does neither.
    if flags & (os.O_WRONLY | os.O_RDWR) and _fault() == errno.EROFS and _is_below(path):
        _raise(errno.EROFS)
    return _real_open(path, flags, *arguments, **options)


def _unlink(path: Any, *arguments: Any, **options: Any) -> None:
    if _fault() == errno.EROFS and _is_below(path):
        _raise(errno.EROFS)
    _real_unlink(path, *arguments, **options)


if _FOLDER and _SWITCH:
    os.write, os.open, os.unlink = _write, _open, _unlink
