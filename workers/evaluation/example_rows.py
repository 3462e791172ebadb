"""What is kept of each example that was asked, as lines of JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class ExampleRow:
    """One example under one prompt.

    label: of the prompt. index: in its split. output, finish_reason: None if nothing was generated. scores: by metric.
    loss: nats a token of the target, None if it was not asked for or is no finite number. n_tokens: of the target.
    """

    label: str
    split: str
    index: int
    input: str | None
    answers: tuple[str, ...]
    output: str | None = None
    finish_reason: str | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    loss: float | None = None
    n_tokens: int = 0

    def to_json(self, **names: object) -> dict[str, Any]:
        """The row as it is published; ``names`` come first and say whose it is, in place of the label."""
        shown = {
            "split": self.split,
            "index": self.index,
            "input": self.input,
            "answers": list(self.answers),
            "output": self.output,
            "finish_reason": self.finish_reason,
        }
        return {**names, **shown, **self.scores, "loss": self.loss, "n_tokens": self.n_tokens}


def finite(value: float) -> float | None:
    """The value, or None in its place if JSON cannot say it."""
    return value if math.isfinite(value) else None


def write_lines(lines: Iterable[Mapping[str, Any]]) -> bytes:
    """One JSON object a line, UTF-8."""
    return "".join(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n" for line in lines).encode()


def save_rows(rows: Iterable[ExampleRow]) -> bytes:
    """Rows as a checkpoint keeps them."""
    return write_lines(vars(row) for row in rows)


def load_rows(data: bytes) -> list[ExampleRow]:
    """The inverse of ``save_rows``."""
    found = [json.loads(line) for line in data.decode().split("\n") if line]
    return [ExampleRow(**{**fields, "answers": tuple(fields["answers"])}) for fields in found]
