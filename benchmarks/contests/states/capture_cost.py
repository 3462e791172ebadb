"""Cost of captures in a running batch: the same completions with and without them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from benchmarks.contests.serving.completions import Size, prompts_of, tasks_of
from benchmarks.measuring.agreement import tokens_agree
from benchmarks.measuring.contest import SECONDS, Contest, Side, quotient
from benchmarks.sides.engine import EngineSide
from benchmarks.sides.models import COMPLETING, COMPLETING_QUICK, build_llama
from service.engine.requests import CaptureSpec

FULL = Size(model=COMPLETING)
QUICK = Size(model=COMPLETING_QUICK, n_prompts=4, n_new=16)


@contextlib.contextmanager
def open_contest(size: Size, *, http: bool) -> Iterator[Contest]:
    """One engine for both sides; ``http`` has no effect."""
    tasks = tasks_of(size)
    engine = EngineSide(build_llama(size.model), prompts=prompts_of(size))
    spec = CaptureSpec(sites=("resid_post",), layers=(size.model.middle_layer,))
    yield Contest(
        name="capture-cost",
        work=(
            f"{size.n_requests} completions as in `completions`, with resid_post of block {size.model.middle_layer} at every "
            f"token, input and generated, and without; {size.model}."
        ),
        sides=[
            Side(name="capture on", run=lambda: engine.complete(tasks, capture=spec)),
            Side(name="capture off", run=lambda: engine.complete(tasks)),
        ],
        goals=[quotient(SECONDS, "capture on", "capture off", at_most=1.05, label="time, capture on : off")],
        compare=lambda answers: [tokens_agree("on against off", answers["capture on"], answers["capture off"])],
        notes=[
            "With capture on, the last token of each row is also read, which takes one more step, and log-probabilities are kept."
        ],
    )
