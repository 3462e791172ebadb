"""How the rows of an ensemble read their input, without a model, and the mean of predictions against SciPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, logsumexp

from service.engine.attention.kv_cache import KVShape, LayerShape
from service.engine.requests import Generate, Limits
from service.engine.scheduling.mixture import mixture_logprobs
from service.engine.scheduling.scheduler import Scheduler
from service.engine.scheduling.sequence import RequestState, SequenceState

SHAPE = KVShape((LayerShape(2, 3, 5, torch.device("cpu")),), torch.float32)
BYTES_PER_SLOT_OF_64 = 64 * 2 * (3 + 5) * 4


def make_rows(n_input: int, *, n_members: int) -> tuple[SequenceState, ...]:
    state = RequestState(Generate(request_id="r", inputs=((1,),), max_tokens=4), (None,) * n_members)
    rows = [SequenceState(state, 0, list(range(n_input)), n_input, max_tokens=4) for _ in range(n_members)]
    if n_members > 1:
        for row in rows:
            row.leader = rows[0]
        rows[0].followers = tuple(rows[1:])
    return rows[0].members


def scheduler(*, max_step_tokens: int = 100, max_rows: int = 100, slots: int = 100) -> Scheduler:
    limits = Limits(cache_bytes=slots * BYTES_PER_SLOT_OF_64, max_rows=max_rows, max_step_tokens=max_step_tokens)
    return Scheduler(SHAPE, limits=limits)


def test_the_mixture_is_the_mean_of_the_probabilities() -> None:
    logits = torch.randn(5, 31, generator=torch.Generator().manual_seed(0)) * 9
    expected = logsumexp(log_softmax(logits.double().numpy(), axis=1), axis=0) - np.log(5)
    np.testing.assert_allclose(mixture_logprobs(logits).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("max_step_tokens", [1, 2, 3, 7, 11, 100])
@pytest.mark.parametrize("n_input", [1, 2, 13])
def test_the_members_read_their_last_token_in_one_forward(max_step_tokens: int, n_input: int) -> None:
    batch = scheduler(max_step_tokens=max_step_tokens)
    first, alone, second = make_rows(n_input, n_members=3), make_rows(17, n_members=1), make_rows(5, n_members=2)
    batch.waiting.extend([*first, *alone, *second])
    batch.admit()
    done: set[int] = set()
    for _ in range(200):
        scheduled = batch.plan()
        assert scheduled, "a step must read something"
        slots = {id(row): slot for slot, row in enumerate(batch.rows)}
        offset = 0
        for part, span in zip(scheduled, batch.spans(scheduled), strict=True):
            assert (part.offset, span.slot) == (offset, slots[id(part.row)])
            offset += part.n_new
        ending = {id(part.row) for part in scheduled if part.reaches_end}
        for members in (first, second):
            assert len({id(row) in ending for row in members}) == 1
        batch.advance(scheduled)
        for members in (first, alone, second):
            if all(row.n_pending == 0 for row in members):
                done.add(id(members[0]))
                for row in members:
                    row.ids.append(9)
        if len(done) == 3:
            return
    raise AssertionError("the inputs were not read in 200 steps")


def test_an_ensemble_is_admitted_as_a_whole() -> None:
    batch = scheduler(max_rows=4)
    first, second = make_rows(3, n_members=3), make_rows(3, n_members=2)
    batch.waiting.extend([*first, *second])
    batch.admit()
    assert batch.rows == list(first)
    batch.remove(lambda row: row in first)
    batch.admit()
    assert batch.rows == list(second)


def test_an_ensemble_needs_memory_for_all_its_rows() -> None:
    assert scheduler(slots=3).could_ever_hold(make_rows(3, n_members=3)[0])
    assert not scheduler(slots=2).could_ever_hold(make_rows(3, n_members=3)[0])
