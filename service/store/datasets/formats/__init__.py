"""Formats of uploaded datasets, one module each. To add one, write a module like ``gsm8k`` and a line in ``open_format``."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from promptatlas.types import DatasetFormat

from service.errors import InvalidRequest
from service.store.datasets.formats.deepmind_math import DeepmindMath
from service.store.datasets.formats.gsm8k import Gsm8k
from service.store.datasets.formats.jsonl import Jsonl
from service.store.datasets.formats.records import FileFormat
from service.store.datasets.formats.squad import Squad
from service.store.datasets.formats.text import ClozeText, PlainText


def open_format(name: DatasetFormat, *, has_template: bool = False, cloze: bool = False) -> FileFormat:
    """The reader of a format.

    Args:
        has_template: Whether the upload has a template.
        cloze: Whether to turn running text into cloze items.

    Raises:
        InvalidRequest: Unknown format, or ``cloze`` with a format other than ``text``.
    """
    makers: Mapping[str, Callable[[], FileFormat]] = {
        "jsonl": lambda: Jsonl(free=has_template),
        "squad": Squad,
        "gsm8k": Gsm8k,
        "deepmind-math": DeepmindMath,
        "text": ClozeText if cloze else PlainText,
    }
    if name not in makers:
        raise InvalidRequest(f"A format is one of {', '.join(makers)}; got {name[:40]!r}.", loc=("query", "format"))
    if cloze and name != "text":
        raise InvalidRequest(f"Cloze items need the format text; got {name}.", loc=("query", "cloze"))
    return makers[name]()
