"""Reader of a tensor in the zip file that ``torch.save`` writes, without torch and without unpickling.

The file describes the tensor by a pickle. A pickle is a program: unpickling calls what it names. This module reads the
opcodes and computes only what ``torch.save`` of one dense tensor needs: a closed table of names, each of which becomes a
value of this module. Any other opcode or name is refused. The format is described in torch's ``docs/source/notes/serialization``.
"""

from __future__ import annotations

import io
import math
import pickletools
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from service.errors import InvalidRequest
from service.store.prompts.peft.adapter_zip import BROKEN_ZIP

ZIP_MAGIC = b"PK\x03\x04"

_MAX_ENTRIES = 64
_MAX_PICKLE_BYTES = 64 << 10
_PICKLE = "data.pkl"
_MARK = object()

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class TorchTensor:
    """A tensor as it is described in the file. It has no more values than ``data``, the bytes of its storage."""

    dtype: str
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int
    data: bytes

    def values(self) -> Floats:
        """The values as float32."""
        kind = np.dtype("<u2") if self.dtype == "bfloat16" else np.dtype(f"<f{_ITEM_BYTES[self.dtype]}")
        strides = tuple(step * kind.itemsize for step in self.stride)
        view = np.ndarray(self.shape, kind, buffer=self.data, offset=self.offset * kind.itemsize, strides=strides)
        if self.dtype == "bfloat16":
            return np.asarray(np.ascontiguousarray(view).astype("<u4") << np.uint32(16)).view("<f4")
        return np.ascontiguousarray(view, dtype=np.float32)


def read_torch_file(data: bytes) -> TorchTensor:
    """The tensor in a file of ``torch.save(tensor)``.

    Raises:
        InvalidRequest: it is no such file, the tensor is not dense float32, float16 or bfloat16, or the pickle contains
            anything but a tensor.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return _tensor_in(archive)
    except BROKEN_ZIP as error:
        raise InvalidRequest("The zip file of torch.save cannot be read: it is truncated or damaged.") from error


@dataclass(frozen=True)
class _Name:
    """What an opcode GLOBAL names, for example ``torch FloatStorage``."""

    text: str


@dataclass(frozen=True)
class _Storage:
    dtype: str
    key: str
    n_values: int


@dataclass(frozen=True)
class _View:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


class _EmptyDict:
    """The only dictionary of these files: the hooks of a tensor, which has none."""


_STORAGES = {"torch FloatStorage": "float32", "torch HalfStorage": "float16", "torch BFloat16Storage": "bfloat16"}
_ITEM_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


def _tensor_in(archive: zipfile.ZipFile) -> TorchTensor:
    infos = archive.infolist()
    if len(infos) > _MAX_ENTRIES:
        raise InvalidRequest(f"The zip file has {len(infos)} entries; that of one tensor has at most {_MAX_ENTRIES}.")
    entries = {info.filename.partition("/")[2]: info for info in infos}
    if _PICKLE not in entries:
        raise InvalidRequest("Expected the zip file of torch.save(tensor), got a zip file without data.pkl.")
    if "byteorder" in entries and _read(archive, entries["byteorder"], max_bytes=16) != b"little":
        raise InvalidRequest("Expected a tensor in little-endian byte order, got another one.")
    view = _run(_read(archive, entries[_PICKLE], max_bytes=_MAX_PICKLE_BYTES))
    storage = view.storage
    info = entries.get(f"data/{storage.key}")
    if info is None:
        raise InvalidRequest("The zip file of torch.save has no data for its tensor.")
    data = _read(archive, info, max_bytes=info.compress_size)
    last = view.offset + sum((size - 1) * step for size, step in zip(view.shape, view.stride, strict=True))
    n_values = min(storage.n_values, len(data) // _ITEM_BYTES[storage.dtype])
    if 0 not in view.shape and last >= n_values:
        raise InvalidRequest(f"The tensor reads value {last} of its data, which has {n_values} values.")
    if math.prod(view.shape) > n_values:
        # Otherwise a few bytes could describe any number of values.
        raise InvalidRequest("The tensor repeats its data, as after expand(). Save tensor.contiguous().")
    return TorchTensor(dtype=storage.dtype, shape=view.shape, stride=view.stride, offset=view.offset, data=data)


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo, *, max_bytes: int) -> bytes:
    if info.compress_type != zipfile.ZIP_STORED:
        raise InvalidRequest("Expected the zip file of torch.save, which is not compressed, got a compressed one.")
    if info.file_size > max_bytes:
        raise InvalidRequest(f"{info.filename[:80]!r} has {info.file_size} bytes; the limit is {max_bytes}.")
    with archive.open(info) as file:
        return file.read(info.file_size + 1)


# --- the pickle ---


class _Stack:
    """Stack and memo of one pickle."""

    def __init__(self) -> None:
        self.items: list[Any] = []
        self.memo: dict[int, Any] = {}

    def pop(self) -> Any:
        if not self.items or self.items[-1] is _MARK:
            raise _unexpected("a value is missing")
        return self.items.pop()

    def pop_to_mark(self) -> tuple[Any, ...]:
        found: list[Any] = []
        while self.items and self.items[-1] is not _MARK:
            found.append(self.items.pop())
        if not self.items:
            raise _unexpected("a value is missing")
        self.items.pop()
        return tuple(reversed(found))


_VALUES = frozenset({"BINUNICODE", "SHORT_BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1"})
_CONSTANTS: Mapping[str, Any] = {"NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": (), "MARK": _MARK}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_STORES = frozenset({"BINPUT", "LONG_BINPUT"})
_LOADS = frozenset({"BINGET", "LONG_BINGET"})
_IGNORED = frozenset({"PROTO", "FRAME"})


def _run(pickle: bytes) -> _View:
    stack = _Stack()
    try:
        for opcode, argument, _ in pickletools.genops(pickle):
            if opcode.name == "STOP":
                result = stack.pop()
                if stack.items or not isinstance(result, _View):
                    raise _unexpected("it is not one tensor")
                return result
            _step(stack, opcode.name, argument)
    except (ValueError, KeyError, EOFError, IndexError, OverflowError) as error:
        raise InvalidRequest("The pickle in the zip file of torch.save is damaged.") from error
    raise _unexpected("it does not end")


def _step(stack: _Stack, name: str, argument: Any) -> None:
    if name in _IGNORED:
        return
    if name in _VALUES:
        stack.items.append(argument)
    elif name in _CONSTANTS:
        stack.items.append(_CONSTANTS[name])
    elif name in _TUPLES:
        stack.items.append(tuple(reversed([stack.pop() for _ in range(_TUPLES[name])])))
    elif name == "TUPLE":
        stack.items.append(stack.pop_to_mark())
    elif name in _STORES or name == "MEMOIZE":
        value = stack.pop()
        stack.memo[len(stack.memo) if argument is None else argument] = value
        stack.items.append(value)
    elif name in _LOADS:
        stack.items.append(stack.memo[argument])
    elif name == "GLOBAL":
        stack.items.append(_known(argument))
    elif name == "STACK_GLOBAL":
        attribute, module = stack.pop(), stack.pop()
        stack.items.append(_known(f"{module} {attribute}"))
    elif name == "BINPERSID":
        stack.items.append(_storage(stack.pop()))
    elif name == "REDUCE":
        arguments, called = stack.pop(), stack.pop()
        stack.items.append(_call(called, arguments))
    else:
        raise _unexpected(f"it has the opcode {name}")


def _known(text: str) -> _Name:
    if text not in _CALLS and text not in _STORAGES:
        if text.startswith("torch ") and text.endswith("Storage"):
            raise InvalidRequest(f"Expected a tensor of float32, float16 or bfloat16, got one of {text[6:80]}.")
        raise _unexpected(f"it names {text.replace(' ', '.')[:80]}")
    return _Name(text)


def _storage(given: Any) -> _Storage:
    match given:
        case ("storage", _Name(text=text), str(key), str(), int(n_values)) if text in _STORAGES:
            return _Storage(dtype=_STORAGES[text], key=key, n_values=n_values)
    raise _unexpected("its data is described in another way")


def _call(called: Any, arguments: Any) -> Any:
    if not isinstance(called, _Name) or called.text not in _CALLS or not isinstance(arguments, tuple):
        raise _unexpected("it calls a value")
    return _CALLS[called.text](arguments)


def _dictionary(arguments: tuple[Any, ...]) -> _EmptyDict:
    if arguments:
        raise _unexpected("it has a dictionary")
    return _EmptyDict()


def _parameter(arguments: tuple[Any, ...]) -> _View:
    match arguments:
        case (_View() as view, bool(), _EmptyDict()):
            return view
    raise _unexpected("its parameter is described in another way")


def _tensor(arguments: tuple[Any, ...]) -> _View:
    match arguments:
        case (_Storage() as storage, int(offset), tuple() as shape, tuple() as stride, bool(), _EmptyDict()):
            if _are_sizes((offset, *shape, *stride)) and len(shape) == len(stride):
                return _View(storage, offset, shape, stride)
    raise _unexpected("its tensor is described in another way")


def _are_sizes(values: tuple[Any, ...]) -> bool:
    return all(type(value) is int and 0 <= value < 1 << 48 for value in values)


_CALLS: Mapping[str, Callable[[tuple[Any, ...]], Any]] = {
    "torch._utils _rebuild_tensor_v2": _tensor,
    "torch._utils _rebuild_parameter": _parameter,
    "collections OrderedDict": _dictionary,
}


def _unexpected(what: str) -> InvalidRequest:
    return InvalidRequest(f"Expected the pickle that torch.save writes for one dense tensor, got another: {what}.")
