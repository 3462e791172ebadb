"""Rows of an evaluation: one example under one prompt, as lines of JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class ExampleRow:
    """One example under one prompt.

    label: of the prompt. index: of the example in its split. output, finish_reason: None if nothing was generated.
    scores: by metric. samples: sampled texts, if there are some.
    loss: nats per target token; None if not requested or not finite. n_tokens: of the target.
    """

    label: str
    split: str
    index: int
    input: str | None
    answers: tuple[str, ...]
    output: str | None = None
    finish_reason: str | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    samples: tuple[str, ...] = ()
    loss: float | None = None
    n_tokens: int = 0

    def to_json(self, **names: object) -> dict[str, Any]:
        """The row as published; ``names`` come first and identify the prompt in place of the label."""
        shown = {
            "split": self.split,
            "index": self.index,
            "input": self.input,
            "answers": list(self.answers),
            "output": self.output,
            "finish_reason": self.finish_reason,
        }
        if self.samples:
            shown["samples"] = list(self.samples)
        return {**names, **shown, **self.scores, "loss": self.loss, "n_tokens": self.n_tokens}


class CheckpointInterval:
    """When to checkpoint a growing list of rows: each time it has grown by a tenth.

    All checkpoints together then write only a few times the final size.
    """

    def __init__(self, *, n_saved: int = 0) -> None:
        self.n_saved = n_saved

    def is_due(self, n: int) -> bool:
        """Whether ``n`` rows are a tenth more than the last checkpoint holds."""
        return n >= self.n_saved + max(1, self.n_saved // 10)

    def saved(self, n: int) -> None:
        """Record that a checkpoint with ``n`` rows has been written."""
        self.n_saved = n


def finite(value: float) -> float | None:
    """The value, or None if it is not finite, since JSON has no such numbers."""
    return value if math.isfinite(value) else None


def write_lines(lines: Iterable[Mapping[str, Any]]) -> bytes:
    """JSON Lines, UTF-8."""
    return "".join(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n" for line in lines).encode()


def save_rows(rows: Iterable[ExampleRow]) -> bytes:
    """Rows as stored in a checkpoint."""
    return write_lines(vars(row) for row in rows)


def load_rows(data: bytes) -> list[ExampleRow]:
    """Inverse of ``save_rows``."""
    found = [json.loads(line) for line in data.decode().split("\n") if line]
    return [
        ExampleRow(**{**row, "answers": tuple(row["answers"]), "samples": tuple(row.get("samples", ()))})
        for row in found
    ]
