"""Cost estimate of a harvest: bytes from its plan, time from a trial on a few texts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.map_sources.texts import Text
from workers.harvest.readers.reader import HarvestReader
from workers.harvest.shards.plan import HarvestPlan, batched

if TYPE_CHECKING:
    from service.store.datasets.items import Example

_TRIAL_TOKENS = 1024
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """n_bytes: of all shards, without texts. seconds: on one worker as fast as this one."""

    n_texts: int
    n_tokens: int
    n_rows: int
    n_shards: int
    n_bytes: int
    seconds: float

    def numbers(self) -> dict[str, float]:
        """All fields as floats."""
        return {name: float(value) for name, value in vars(self).items()}

    def __str__(self) -> str:
        return (
            f"{self.n_texts:,} texts, {self.n_tokens:,} tokens, {self.n_rows:,} rows: about {format_bytes(self.n_bytes)} in "
            f"{self.n_shards:,} shards, about {_format_seconds(self.seconds)} on one worker."
        )


def estimate(
    plan: HarvestPlan,
    *,
    reader: HarvestReader,
    examples: Iterable[Example],
    clock: Callable[[], float] = time.perf_counter,
) -> Estimate:
    """Extrapolate from a timed read of the first texts; an untimed read warms up first."""
    texts = _first(reader, examples)
    n_trial = sum(map(reader.n_tokens, texts))
    reader.read(texts, longest=plan.longest)
    started_s = clock()
    reader.read(texts, longest=plan.longest)
    seconds = (clock() - started_s) * plan.n_tokens / n_trial
    return Estimate(
        n_texts=plan.n_texts,
        n_tokens=plan.n_tokens,
        n_rows=plan.n_rows,
        n_shards=len(plan.shards),
        n_bytes=plan.n_bytes,
        seconds=seconds,
    )


def format_bytes(n_bytes: float) -> str:
    """Bytes in a suitable binary unit, e.g. ``1.5 GiB``."""
    unit = 0
    while n_bytes >= 1024 and unit < len(_UNITS) - 1:
        n_bytes /= 1024
        unit += 1
    return f"{n_bytes:.0f} {_UNITS[unit]}" if unit == 0 else f"{n_bytes:.1f} {_UNITS[unit]}"


def _format_seconds(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"


def _first(reader: HarvestReader, examples: Iterable[Example]) -> list[Text]:
    """The first readable texts, about ``_TRIAL_TOKENS`` tokens, at least one text."""
    texts: list[Text] = []
    n_tokens = 0
    for batch in batched(examples, n=16):
        for text in reader.encode(batch):
            if text is not None:
                texts.append(text)
                n_tokens += reader.n_tokens(text)
            if n_tokens >= _TRIAL_TOKENS:
                return texts
    return texts
