"""Statistics of one engine: counters, and histograms of times and sizes. The API process reads them without torch.

The names are those of vLLM's metrics without their prefix. As in vLLM, a request is one sequence: each of the ``n`` rows of
each input counts as a request of its own.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

FinishedReason = Literal["stop", "length", "capture", "abort", "error"]
"""How a sequence ended: as reported to the client, read without generation, cancelled, or failed."""

_FIRST_TOKEN_S = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0),
)
# vLLM's bounds begin at 0.01 s between tokens and at 0.3 s for a request: small models on one host are faster.
_TOKEN_S = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.075,
    0.1,
    0.15,
    0.2,
    0.3,
    0.4,
    0.5,
    0.75,
    1.0,
    2.5,
    5.0,
    10.0,
    40.0,
)
_REQUEST_S = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0),
    *(40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0),
)
_TOKENS = tuple(float(digit * 10**power) for power in range(6) for digit in (1, 2, 5))
_STEP_TOKENS = (1.0, *(float(2**power) for power in range(3, 15)))

HISTOGRAMS: Mapping[str, tuple[float, ...]] = {
    "time_to_first_token_seconds": _FIRST_TOKEN_S,
    "inter_token_latency_seconds": _TOKEN_S,
    "request_time_per_output_token_seconds": _TOKEN_S,
    "e2e_request_latency_seconds": _REQUEST_S,
    "request_queue_time_seconds": _REQUEST_S,
    "request_inference_time_seconds": _REQUEST_S,
    "request_prefill_time_seconds": _REQUEST_S,
    "request_decode_time_seconds": _REQUEST_S,
    "request_prompt_tokens": _TOKENS,
    "request_generation_tokens": _TOKENS,
    "request_max_num_generation_tokens": _TOKENS,
    "request_params_max_tokens": _TOKENS,
    "request_params_n": (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0),
    "iteration_tokens_total": _STEP_TOKENS,
}
"""Upper bounds of the buckets, by name; the last bucket, without a bound, is not listed."""


@dataclass(frozen=True, kw_only=True)
class EngineStatistics:
    """All statistics since the engine process started. It is sent often, so the histograms are two flat tuples.

    prompt_tokens: tokens of inputs that were read. generation_tokens: generated ones.
    finished: ended sequences, by reason. counts: of the buckets of all histograms, not cumulative, in the order of
    :data:`HISTOGRAMS`. totals: for each histogram, the sum of all observed values.
    """

    prompt_tokens: int = 0
    generation_tokens: int = 0
    finished: Mapping[str, int] = field(default_factory=dict)
    counts: tuple[int, ...] = (0,) * sum(len(bounds) + 1 for bounds in HISTOGRAMS.values())
    totals: tuple[float, ...] = (0.0,) * len(HISTOGRAMS)

    def histograms(self) -> Iterator[tuple[str, tuple[int, ...], float]]:
        """Name, counts by bucket and sum of each histogram."""
        start = 0
        for (name, bounds), total in zip(HISTOGRAMS.items(), self.totals, strict=True):
            end = start + len(bounds) + 1
            yield name, self.counts[start:end], total
            start = end


class Histogram:
    """Counts observations in buckets. A value equal to a bound belongs to that bucket, as in Prometheus.

    Attributes:
        counts: by bucket, not cumulative.
        total: sum of all observed values.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self.counts = [0] * (len(self._bounds) + 1)
        self.total = 0.0

    def observe(self, value: float, *, n: int = 1) -> None:
        """Count a value ``n`` times."""
        self.counts[bisect_left(self._bounds, value)] += n
        self.total += value * n


@dataclass(frozen=True, kw_only=True)
class RequestTimes:
    """A request of the engine that has ended, with all its sequences. Times are seconds on the engine's clock.

    admitted_s: when its first sequence was admitted; None if it ended in the queue.
    first_token_s: when its first token was chosen; None without one. prefilled_s: when the input of the last sequence had
    been read; None if it ended before. n_input: tokens of its inputs, each counted once. reasons: one for each sequence.
    """

    request_id: str
    arrived_s: float
    admitted_s: float | None
    first_token_s: float | None
    prefilled_s: float | None
    ended_s: float
    n_input: int
    n_generated: int
    reasons: tuple[FinishedReason, ...]
