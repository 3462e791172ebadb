"""Scheduler of the continuous batch: admission by memory, the tokens of each forward, removal.

Invariant: rows[i] has slot i, and decoding rows come before rows that still read their input, so that the attention of the
decoding rows reads one slice of the cache.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from service.engine.attention.kv_cache import CompiledPrompt, KVCache, KVShape
from service.engine.attention.spans import Span
from service.engine.requests import Limits
from service.engine.scheduling.mixture import StepBudget
from service.engine.scheduling.sequence import SequenceState

WIDTH_STEP = 64


@dataclass(frozen=True)
class ScheduledTokens:
    """One row's tokens in a forward: the next ``n_new`` of its pending ones, packed from index ``offset``. slot: of the cache."""

    row: SequenceState
    offset: int
    n_new: int
    slot: int = 0

    @property
    def begin(self) -> int:
        """Text position of the first token."""
        return self.row.n_read

    @property
    def end(self) -> int:
        return self.row.n_read + self.n_new

    @property
    def reaches_end(self) -> bool:
        """Whether no token of the row is pending after this forward."""
        return self.n_new == self.row.n_pending


class Scheduler:
    """Running rows, and rows that wait for a slot.

    Attributes:
        n_decoding: the first ``n_decoding`` rows have read their input.
    """

    def __init__(self, shape: KVShape, *, limits: Limits, cache: KVCache | None = None) -> None:
        self.cache = KVCache(shape) if cache is None else cache
        self.rows: list[SequenceState] = []
        self.waiting: deque[SequenceState] = deque()
        self.n_decoding = 0
        self._limits = limits

    @property
    def reserved_bytes(self) -> int:
        """Bytes of the cache that the running rows occupy: the slots of a cache have one width."""
        return self.cache.bytes_for(len(self.rows), self.cache.width)

    def could_ever_hold(self, row: SequenceState) -> bool:
        """Whether the row alone, with the other rows of its ensemble, fits into the memory budget."""
        n_bytes = self.cache.bytes_for(len(row.members), _rounded(_widest(row.members)))
        return n_bytes <= self._limits.cache_bytes

    def admit(self) -> None:
        """Give slots to waiting rows, first come, first served, while the cache's budget allows.

        A row is followed in the queue by the other rows of its ensemble, which are admitted with it or not at all.
        """
        n_before = len(self.rows)
        while self.waiting:
            members = self.waiting[0].members
            if len(self.rows) + len(members) > self._limits.max_rows or not self._make_room(members):
                break
            for row in members:
                self.waiting.popleft()
                self.rows.append(row)
        slots: dict[CompiledPrompt, list[int]] = {}
        for slot in range(n_before, len(self.rows)):
            if (prompt := self.rows[slot].prompt) is not None:
                slots.setdefault(prompt.compiled, []).append(slot)
        self.cache.load_prompts(slots)

    def plan(self) -> list[ScheduledTokens]:
        """One token of each decoding row, then chunks of inputs in order, up to the step's budget of tokens."""
        scheduled = [ScheduledTokens(row, i, 1, i) for i, row in enumerate(self.rows[: self.n_decoding])]
        offset, budget = len(scheduled), StepBudget(max(1, self._limits.max_step_tokens - len(scheduled)))
        for slot, row in enumerate(self.rows[self.n_decoding :], start=self.n_decoding):
            n = budget.take(row)
            if n > 0:
                scheduled.append(ScheduledTokens(row, offset, n, slot))
                offset += n
        return scheduled

    def spans(self, scheduled: Iterable[ScheduledTokens]) -> list[Span]:
        """Cache positions of the scheduled tokens. Call it before ``advance``."""
        spans = []
        for part in scheduled:
            row, slot = part.row, part.slot
            prompt = row.prompt.compiled if row.prompt is not None else None
            spans.append(Span(slot, part.offset, row.n_cached, row.n_cached + part.n_new, prompt))
        return spans

    def advance(self, scheduled: Iterable[ScheduledTokens]) -> None:
        """Mark the scheduled tokens as read. Rows that finish their input join the decoding ones."""
        for part in scheduled:
            part.row.n_read += part.n_new
        while self.n_decoding < len(self.rows) and self.rows[self.n_decoding].is_decoding:
            self.n_decoding += 1

    def remove(self, is_removed: Callable[[SequenceState], bool]) -> None:
        """Remove rows, waiting ones too; the last rows move into their slots."""
        self.waiting = deque(row for row in self.waiting if not is_removed(row))
        for slot in range(len(self.rows) - 1, -1, -1):
            if is_removed(self.rows[slot]):
                self._vacate(slot)
        if not self.rows and not self.waiting and self.cache.n_bytes > self._limits.cache_bytes // 2:
            self.cache.resize(0, 0, keep=())

    def _vacate(self, slot: int) -> None:
        if slot < self.n_decoding:
            self.n_decoding -= 1
            self._move(self.n_decoding, slot)
            slot = self.n_decoding
        self._move(len(self.rows) - 1, slot)
        self.rows.pop()

    def _move(self, source: int, target: int) -> None:
        if source != target:
            self.cache.move(source, target, length=self.rows[source].n_cached)
            self.rows[target] = self.rows[source]

    def _make_room(self, members: Sequence[SequenceState]) -> bool:
        needed = (len(self.rows) + len(members), _rounded(_widest([*members, *self.rows])))
        if needed[0] <= self.cache.n_slots and needed[1] <= self.cache.width:
            return True
        for n_slots, width in (self._room_for_all(), needed):
            if self.cache.bytes_for(n_slots, width) <= self._limits.cache_bytes:
                self.cache.resize(n_slots, width, keep=[r.n_cached for r in self.rows])
                return True
        return False

    def _room_for_all(self) -> tuple[int, int]:
        """Slots and width for all waiting rows as well, so that a burst of requests resizes the cache once."""
        n_slots = min(self._limits.max_rows, len(self.rows) + len(self.waiting))
        rows = [*self.rows, *self.waiting][:n_slots]
        return max(n_slots, self.cache.n_slots), max(self.cache.width, *(_rounded(r.n_reserved) for r in rows))


def _widest(rows: Iterable[SequenceState]) -> int:
    return max(row.n_reserved for row in rows)


def _rounded(width: int) -> int:
    return -(-width // WIDTH_STEP) * WIDTH_STEP
