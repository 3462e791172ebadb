"""Codec of the messages between the API process and the engine process: msgpack over a closed set of types.

Decoding creates values of the types listed here and no others. It imports no module and calls no function that the bytes
name. A value round-trips with its type and bit for bit: tuples and lists, NaN, integers of any size, strings with lone
surrogates, numpy arrays. Subclasses of str, int, float and of the listed errors become their base class. Both ends run the
same version of the service, so a record is encoded as its tag and its field values in order of declaration.
"""

from __future__ import annotations

import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import msgpack
import numpy as np

from service import errors
from service.engine import comparisons, inputs, requests, statistics
from service.errors import AtlasError
from service.hosting.ipc import messages

RECORDS: tuple[type, ...] = (
    *(messages.Submit, messages.EstimateCost, messages.Cancel, messages.Reply, messages.EngineState),
    *(messages.StoredResult, messages.Finished, messages.Estimated),
    *(requests.Generate, requests.Capture, inputs.PromptChoice, requests.Sampling, requests.Slice),
    *(requests.CaptureSpec, requests.Projection, requests.Lens, requests.Nearest, requests.Intervention),
    *(requests.Delta, requests.RowDone, requests.Failed, requests.TokenLogprob, requests.Estimate),
    *(requests.RankedToken, requests.Tokenize, requests.Detokenize, messages.CallTokenizer, messages.Tokenized),
    *(inputs.Vectors, requests.KeysValues, messages.ExportPrompt, statistics.EngineStatistics),
    *(comparisons.LensDivergence, messages.CompareStates),
)
"""Dataclasses that may appear in a frame; the position is the tag."""

ERRORS: tuple[type[AtlasError], ...] = (
    *(errors.AtlasError, errors.InvalidRequest, errors.NotFound, errors.Conflict, errors.TooLarge, errors.Busy),
    *(errors.Unavailable, errors.DeadlineExceeded, errors.DamagedArtifact, errors.EngineFault, errors.UnsupportedModel),
    *(errors.EngineUnavailable, errors.StoreUnavailable, errors.StoreFull, errors.StoreReadOnly),
    *(errors.TemporaryFilesUnavailable, errors.QueueUnavailable, errors.HubUnreachable),
    errors.RateLimited,
    errors.ContextLengthExceeded,
    *(errors.Expired, errors.ShuttingDown, errors.RequestTooSlow),
)
"""Errors that may appear in a frame; the position is the tag."""

_LIST, _TUPLE, _ARRAY, _ERROR = -1, -2, -3, -4
_WIDE_INTEGER = 1
"""Extension type of integers of more than 64 bits: their decimal digits."""

_SCALARS = frozenset({str, int, float, bool, bytes, type(None)})
_CONTAINERS = frozenset({list, dict})
_DTYPES = frozenset(
    {"bool", "float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"}
)
_FIRST_BUFFER_BYTES = 4096  # msgpack's own, 256 KiB, makes small messages slow


class MalformedFrame(Exception):
    """The bytes are not a message: damaged, with an unknown tag, or with fields of the wrong number or type."""


def encode(message: object) -> bytes:
    """The bytes of a message.

    Raises:
        TypeError: the message contains a value of a type that the codec does not support.
    """
    return msgpack.packb(  # type: ignore[no-any-return]
        _to_wire(message),
        default=_pack_wide_integer,
        strict_types=True,
        unicode_errors="surrogatepass",
        buf_size=_FIRST_BUFFER_BYTES,
    )


def decode(data: bytes | bytearray, *, expected: tuple[type, ...]) -> Any:
    """The message of which ``data`` is the encoding; an instance of one of the ``expected`` classes.

    Raises:
        MalformedFrame: ``data`` is not such a message.
    """
    try:
        message = _from_wire(
            msgpack.unpackb(data, ext_hook=_unpack_extension, strict_map_key=False, unicode_errors="surrogatepass")
        )
    except Exception as error:
        raise MalformedFrame(f"expected an encoded message, got {len(data)} other bytes: {error}") from error
    if not isinstance(message, expected):
        names = ", ".join(kind.__name__ for kind in expected)
        raise MalformedFrame(f"expected a message of type {names}, got {type(message).__name__}")
    return message


# Every msgpack array starts with a tag: the position of a record class, or one of the negative tags above.


def _to_wire(value: Any) -> Any:
    kind = type(value)
    if kind in _SCALARS:
        return value
    if (record := _RECORD_TYPES.get(kind)) is not None:
        return [record.tag, *_items_to_wire(record.values_of(value))]
    if kind is tuple or kind is list:
        return [_TUPLE if kind is tuple else _LIST, *_items_to_wire(value)]
    if kind is dict:
        return {_key(key): _to_wire(item) for key, item in value.items()}
    if kind is np.ndarray and value.dtype.name in _DTYPES and value.dtype.isnative:
        return [_ARRAY, value.dtype.name, value.tobytes(), *value.shape]
    if isinstance(value, AtlasError):
        tag = next(ERRORS.index(base) for base in kind.__mro__ if base in ERRORS)
        return [_ERROR, tag, value.detail, _to_wire(value.loc), value.retry_after_s]
    if isinstance(value, str):  # a subclass, such as torch.__version__
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    raise TypeError(f"expected a value of a type that messages may contain, got {kind.__name__}")


def _items_to_wire(items: Sequence[Any]) -> Iterable[Any]:
    if _SCALARS.issuperset(map(type, items)):
        return items
    return [item if type(item) in _SCALARS else _to_wire(item) for item in items]


def _from_wire(node: Any) -> Any:
    kind = type(node)
    if kind is dict:
        return {key: _from_wire(item) for key, item in node.items()}
    if kind is not list:
        return node
    tag, *items = node
    if tag == _ARRAY:
        return _array(*items)
    if not _CONTAINERS.isdisjoint(map(type, items)):
        items = [_from_wire(item) if type(item) in _CONTAINERS else item for item in items]
    if tag == _TUPLE:
        return tuple(items)
    if tag == _LIST:
        return items
    return _error(*items) if tag == _ERROR else _RECORDS_BY_TAG[tag].build(items)


def _key(key: object) -> object:
    if type(key) not in (str, int):
        raise TypeError(f"expected str or int as the key of a mapping, got {type(key).__name__}")
    return key


def _pack_wide_integer(value: object) -> msgpack.ExtType:
    if type(value) is not int:
        raise TypeError(f"expected a value of a type that messages may contain, got {type(value).__name__}")
    return msgpack.ExtType(_WIDE_INTEGER, str(value).encode())


def _unpack_extension(tag: int, data: bytes) -> int:
    if tag != _WIDE_INTEGER:
        raise ValueError(f"unknown extension type {tag}")
    return int(data)


def _array(dtype: str, data: bytes, *shape: int) -> np.ndarray[Any, Any]:
    if dtype not in _DTYPES:
        raise ValueError(f"unknown dtype {dtype!r}")
    return np.frombuffer(data, dtype).reshape(shape).copy()


def _error(tag: int, detail: str, loc: tuple[str | int, ...] | None, retry_after_s: float | None) -> AtlasError:
    if tag not in range(len(ERRORS)) or not isinstance(detail, str):
        raise ValueError("not an error of the service")
    return ERRORS[tag](detail, loc=loc, retry_after_s=retry_after_s)


class _RecordType:
    """One dataclass of :data:`RECORDS`. Instances are built after a check of the number and the outer types of their fields."""

    def __init__(self, kind: type, *, tag: int) -> None:
        hints = get_type_hints(kind)
        self.tag = tag
        self._kind = kind
        self._names = tuple(field.name for field in fields(kind))
        self._allowed = tuple(_runtime_types(hints[name]) for name in self._names)

    def values_of(self, record: object) -> list[object]:
        given = record.__dict__
        return [given[name] for name in self._names]

    def build(self, values: list[object]) -> object:
        if len(values) != len(self._names):
            raise ValueError(f"{self._kind.__name__} with {len(values)} fields")
        if not all(map(isinstance, values, self._allowed)):
            raise ValueError(f"{self._kind.__name__} with a field of the wrong type")
        record: object = object.__new__(self._kind)
        record.__dict__.update(zip(self._names, values, strict=True))  # a third of the time of __init__
        return record


def _runtime_types(hint: Any) -> tuple[type, ...]:
    """The classes that a value with this annotation may have; those of its elements are not included."""
    origin = get_origin(hint)
    if hint in (Any, object):
        return (object,)
    if origin in (Union, types.UnionType):
        return tuple(kind for part in get_args(hint) for kind in _runtime_types(part))
    if origin is Literal:
        return tuple({type(value) for value in get_args(hint)})
    if hint is float:
        return (float, int)
    return (dict,) if origin is Mapping else (origin or hint,)


_RECORDS_BY_TAG = {tag: _RecordType(kind, tag=tag) for tag, kind in enumerate(RECORDS)}
_RECORD_TYPES = {kind: _RECORDS_BY_TAG[tag] for tag, kind in enumerate(RECORDS)}
