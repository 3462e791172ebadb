"""What a harvest will cost: bytes by its plan, time by trying a few of its texts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workers.harvest.plan import HarvestPlan, batched
from workers.harvest.readers.reader import HarvestReader
from workers.states.texts import Text

if TYPE_CHECKING:
    from service.store.datasets.items import Example

_TRIED_TOKENS = 1024
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """n_bytes: of all shards but for their texts. seconds: on one worker as fast as this one."""

    n_texts: int
    n_tokens: int
    n_rows: int
    n_shards: int
    n_bytes: int
    seconds: float

    def numbers(self) -> dict[str, float]:
        """By name."""
        return {name: float(value) for name, value in vars(self).items()}

    def __str__(self) -> str:
        return (
            f"{self.n_texts:,} texts, {self.n_tokens:,} tokens, {self.n_rows:,} rows: about {in_words(self.n_bytes)} in "
            f"{self.n_shards:,} shards, about {_time_in_words(self.seconds)} on one worker."
        )


def estimate(
    plan: HarvestPlan,
    *,
    reading: HarvestReader,
    examples: Iterable[Example],
    clock: Callable[[], float] = time.perf_counter,
) -> Estimate:
    """Read the first texts twice, and take the second time for all."""
    texts = _first(reading, examples)
    n_tried = sum(map(reading.n_tokens, texts))
    reading.read(texts, longest=plan.longest)
    began = clock()
    reading.read(texts, longest=plan.longest)
    seconds = (clock() - began) * plan.n_tokens / n_tried
    return Estimate(
        n_texts=plan.n_texts,
        n_tokens=plan.n_tokens,
        n_rows=plan.n_rows,
        n_shards=len(plan.shards),
        n_bytes=plan.n_bytes,
        seconds=seconds,
    )


def in_words(n_bytes: float) -> str:
    """Bytes in a unit that suits them."""
    unit = 0
    while n_bytes >= 1024 and unit < len(_UNITS) - 1:
        n_bytes /= 1024
        unit += 1
    return f"{n_bytes:.0f} {_UNITS[unit]}" if unit == 0 else f"{n_bytes:.1f} {_UNITS[unit]}"


def _time_in_words(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"


def _first(reading: HarvestReader, examples: Iterable[Example]) -> list[Text]:
    """The first readable texts, at least one, up to some tokens."""
    texts: list[Text] = []
    n_tokens = 0
    for batch in batched(examples, n=16):
        for text in reading.encode(batch):
            if text is not None:
                texts.append(text)
                n_tokens += reading.n_tokens(text)
            if n_tokens >= _TRIED_TOKENS:
                return texts
    return texts
