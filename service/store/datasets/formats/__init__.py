"""Formats of uploaded datasets, one small file each. To add one: a file like ``gsm8k.py``, a line in ``open_format``."""

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
    """The reader for files of a format.

    Args:
        has_template: a template comes with the file.
        cloze: cut running text into cloze items.

    Raises:
        InvalidRequest: there is no such format, or ``cloze`` is asked of another one than ``text``.
    """
    makers: Mapping[str, Callable[[], FileFormat]] = {
        "jsonl": lambda: Jsonl(free=has_template),
        "squad": Squad,
        "gsm8k": Gsm8k,
        "deepmind-math": DeepmindMath,
        "text": ClozeText if cloze else PlainText,
    }
    if name not in makers:
        raise InvalidRequest(f"A format is one of {', '.join(makers)}; this is {name[:40]!r}.", loc=("query", "format"))
    if cloze and name != "text":
        raise InvalidRequest(f"Cloze items are cut from the format text only; this is {name}.", loc=("query", "cloze"))
    return makers[name]()
