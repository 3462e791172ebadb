"""Admission by memory, the order of slots, and removal, without a model: the tests write marks into keys and values."""

from __future__ import annotations

import torch

from service.engine.attention.kv_cache import CompiledPrompt, KVShape, LayerShape
from service.engine.prompts.cache import LoadedPrompt
from service.engine.prompts.prompt import Prompt
from service.engine.requests import Generate, Limits
from service.engine.scheduling.scheduler import Scheduler
from service.engine.scheduling.sequence import RequestState, SequenceState

SHAPE = KVShape(tuple(LayerShape(2, 3, 5, torch.device("cpu")) for _ in range(2)), torch.float32)
BYTES_PER_SLOT_OF_64 = 64 * 2 * 2 * (3 + 5) * 4


def make_row(n_input: int, max_tokens: int, *, prompt: LoadedPrompt | None = None) -> SequenceState:
    state = RequestState(Generate(request_id="r", inputs=((1,),), max_tokens=max_tokens), (prompt,))
    return SequenceState(state, 0, list(range(1, n_input + 1)), n_input, max_tokens=max_tokens, prompt=prompt)


def running(*, slots: int = 100, max_rows: int = 100, max_step_tokens: int = 100) -> Scheduler:
    limits = Limits(cache_bytes=slots * BYTES_PER_SLOT_OF_64, max_rows=max_rows, max_step_tokens=max_step_tokens)
    return Scheduler(SHAPE, limits=limits)


def read_all(rows: Scheduler) -> None:
    """Read until every row has finished its input, marking each cache entry with its token."""
    while rows.n_decoding < len(rows.rows):
        scheduled = rows.plan()
        for part, span in zip(scheduled, rows.spans(scheduled), strict=True):
            for layer in range(2):
                marks = torch.tensor(part.row.ids[part.begin : part.end], dtype=torch.float32)
                rows.cache.keys[layer][span.slot, :, span.begin : span.end] = marks[None, :, None]
        rows.advance(scheduled)
        for row in rows.rows[: rows.n_decoding]:
            if row.n_pending == 0:
                row.ids.append(99)


def test_rows_are_admitted_in_order_while_the_memory_allows() -> None:
    rows = running(slots=3)
    waiting = [make_row(10, 50) for _ in range(5)]
    rows.waiting.extend(waiting)
    rows.admit()
    assert rows.rows == waiting[:3]
    assert rows.cache.n_bytes <= 3 * BYTES_PER_SLOT_OF_64
    rows.remove(lambda row: row is waiting[1])
    rows.admit()
    assert [row in rows.rows for row in waiting] == [True, False, True, True, False]


def test_a_wide_row_counts_for_the_whole_rectangle() -> None:
    rows = running(slots=4)
    narrow, wide = make_row(10, 20), make_row(100, 50)
    rows.waiting.extend([narrow, wide])
    rows.admit()
    assert rows.rows == [narrow]  # two slots of 192 are six of 64
    rows.remove(lambda row: row is narrow)
    rows.admit()
    assert rows.rows == [wide]
    assert not rows.could_ever_hold(make_row(200, 100))
    assert rows.could_ever_hold(make_row(200, 56))


def test_max_rows_bounds_the_batch() -> None:
    rows = running(max_rows=2)
    rows.waiting.extend(make_row(3, 3) for _ in range(3))
    rows.admit()
    assert (len(rows.rows), len(rows.waiting)) == (2, 1)


def test_long_inputs_are_cut_into_chunks_that_never_starve_decoding_rows() -> None:
    rows = running(max_step_tokens=7)
    first, long, last = make_row(2, 9), make_row(20, 9), make_row(4, 9)
    rows.waiting.append(first)
    rows.admit()
    read_all(rows)
    rows.waiting.extend([long, last])
    rows.admit()
    sizes = []
    while rows.n_decoding < 3:
        scheduled = rows.plan()
        sizes.append([(part.row is first, part.n_new) for part in scheduled])
        rows.advance(scheduled)
        for row in rows.rows[: rows.n_decoding]:
            row.ids.append(99)
    assert sizes == [[(True, 1), (False, 6)]] * 3 + [[(True, 1), (False, 2), (False, 4)]]


def test_rows_keep_their_own_entries_when_others_leave_or_the_cache_grows() -> None:
    rows = running()
    members = [make_row(n, 5) for n in (3, 11, 7, 5)]
    for i, row in enumerate(members):
        row.ids = [100 * i + k for k in range(row.n_input)]
    rows.waiting.extend(members[:3])
    rows.admit()
    read_all(rows)
    late = make_row(90, 5)
    rows.waiting.extend([members[3], late])
    rows.admit()  # grows, while three decode
    rows.remove(lambda row: row is members[0])
    read_all(rows)
    rows.remove(lambda row: row is members[2])
    assert set(map(id, rows.rows)) == {id(members[1]), id(members[3]), id(late)}
    for slot, row in enumerate(rows.rows):
        for layer in range(2):
            stored = rows.cache.keys[layer][slot, 0, : row.n_input, 0]
            assert stored.tolist() == row.ids[: row.n_input]


def test_decoding_rows_come_before_reading_ones_after_any_removal() -> None:
    rows = running(max_step_tokens=6)
    short = [make_row(2, 9) for _ in range(3)]
    rows.waiting.extend(short)
    rows.admit()
    read_all(rows)
    long = [make_row(30, 9) for _ in range(2)]
    rows.waiting.extend(long)
    rows.admit()
    for removed in (short[0], long[0], short[2]):
        rows.remove(lambda row, removed=removed: row is removed)  # type: ignore[misc]
        decoding = [row.is_decoding for row in rows.rows]
        assert decoding == sorted(decoding, reverse=True)
        assert sum(decoding) == rows.n_decoding
    assert [id(row) for row in rows.rows] == [id(short[1]), id(long[1])]


def test_a_prompt_takes_the_front_of_its_slot() -> None:
    key, value = torch.full((2, 4, 3), 7.0), torch.full((2, 4, 5), 8.0)
    compiled = CompiledPrompt(4, (key, None), (value, None))
    loaded = LoadedPrompt(Prompt("soft", {"soft": torch.zeros(4, 6)}), compiled)
    rows = running()
    rows.waiting.extend([make_row(3, 2), make_row(3, 2, prompt=loaded)])
    rows.admit()
    assert rows.cache.keys[0][1, :, :4].eq(7).all()
    assert rows.cache.values[0][1, :, :4].eq(8).all()
    assert rows.cache.keys[1][1].eq(0).all()
    scheduled = rows.plan()
    spans = rows.spans(scheduled)
    assert [(span.begin, span.end) for span in spans] == [(0, 3), (4, 7)]
    assert [spans[1].first_visible(layer) for layer in (0, 1)] == [0, 4]
