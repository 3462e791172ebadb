from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest

from service.api.keys.demand import Demand, n_used
from service.engine.inputs import Vectors
from service.engine.requests import Capture, CaptureSpec, Delta, Failed, Generate, RowDone
from service.errors import InvalidRequest
from service.hosting.ipc.engine_client import Exchange
from service.hosting.ipc.messages import Finished, Reply, Submit, Update
from service.hosting.ipc.usage import UsageTally

SPEC = CaptureSpec(sites=("embed",))
VECTORS = Vectors(values=cast(Any, np.zeros((3, 5), np.float32)))


def submit(request: Generate | Capture, n_context: int | None = None) -> Submit:
    return Submit(model="demo", request=request, n_context=n_context)


@pytest.mark.parametrize(
    ("job", "expected"),
    [
        (
            submit(Generate(request_id="r", inputs=("x" * 9, (1, 2)), n=2, max_tokens=10)),
            Demand(n_rows=4, n_input=5, n_generated=40),
        ),
        (
            submit(Generate(request_id="r", messages=({"role": "user", "content": "x" * 16},), n=3, max_tokens=7)),
            Demand(n_rows=3, n_input=8, n_generated=21),
        ),
        # A chat without a limit may fill the context.
        (
            submit(Generate(request_id="r", messages=({"role": "user", "content": "x" * 16},), max_tokens=1), 64),
            Demand(n_rows=1, n_input=8, n_generated=56),
        ),
        (
            submit(Capture(request_id="r", inputs=((1, 2, 3), "xxxx"), capture=SPEC)),
            Demand(n_rows=2, n_input=4, n_generated=0),
        ),
        (
            submit(Generate(request_id="r", inputs=(VECTORS, "xxxx"), max_tokens=2)),
            Demand(n_rows=2, n_input=4, n_generated=4),
        ),
    ],
)
def test_the_demand_of_a_request(job: Submit, expected: Demand) -> None:
    assert Demand.of(job) == expected


def used(request: Generate | Capture, *updates: Update, n_input: tuple[int, ...] | None = None) -> int:
    exchange = Exchange("r", deadline_s=1.0, clock=lambda: 0.0)
    exchange.usage = UsageTally(submit(request))
    if updates:
        exchange.usage.add(Reply(request_id="r", updates=updates, n_input=n_input))
    for update in updates:
        exchange.put(update)
    return n_used(request, exchange, demand=Demand(n_rows=4, n_input=7, n_generated=40))


def delta(row: int, *token_ids: int) -> Delta:
    return Delta(request_id="r", row=row, text="", token_ids=token_ids)


def done(row: int, n_input: int, n_generated: int) -> RowDone:
    return RowDone(request_id="r", row=row, finish_reason="length", n_input=n_input, n_generated=n_generated)


def test_a_generation_has_used_its_inputs_once_and_all_that_it_generated() -> None:
    request = Generate(request_id="r", inputs=("a", "b"), n=2)
    rows = (done(0, 3, 1), done(1, 3, 2), done(2, 5, 4), done(3, 5, 8))
    assert used(request, *rows, Finished(), n_input=(3, 5)) == 3 + 5 + 1 + 2 + 4 + 8


def test_a_capture_has_used_the_tokens_of_its_inputs() -> None:
    assert used(Capture(request_id="r", inputs=("a",), capture=SPEC), Finished(), n_input=(11,)) == 11


def test_a_failed_request_has_used_nothing() -> None:
    assert used(Generate(request_id="r"), delta(0, 1), Failed(request_id="r", error=InvalidRequest("no"))) == 0


def test_a_cancelled_stream_has_used_what_was_sent_and_others_all() -> None:
    stream = Generate(request_id="r", inputs=("a", "b"), stream=True)
    assert used(stream, delta(0, 1, 2), delta(1, 3), n_input=(4, 5)) == 9 + 3
    assert used(stream) == 7
    assert used(Generate(request_id="r", inputs=("a",)), delta(0, 1, 2), n_input=(4,)) == 47
    assert used(Capture(request_id="r", inputs=("a",), capture=SPEC)) == 47
