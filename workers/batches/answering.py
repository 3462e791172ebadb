"""Answers of the requests of one shard, generated together with the serving engine."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from service.engine.engine import Engine
from service.engine.model.hosted_model import HostedModel
from service.engine.requests import Delta, Done, Event, Failed, Limits, RowDone
from service.errors import AtlasError, Busy, InvalidRequest
from workers.batches.input_file import LineRequest
from workers.batches.preparation import Answer, Preparation, Prepared


def answer_all(
    lines: Sequence[LineRequest],
    *,
    model: HostedModel,
    preparation: Preparation,
    limits: Limits,
    check: Callable[[], None],
    id_of: Callable[[LineRequest], str],
) -> list[Answer]:
    """One answer for each line, in order. A request that fails does not affect the others.

    Args:
        check: called before every step; may raise to stop.
        id_of: id of a request.
    """
    answers: dict[int, Answer] = {}
    waiting: deque[tuple[int, Prepared]] = deque()
    for i, line in enumerate(lines):
        prepared = preparation.prepare(line, request_id=id_of(line))
        if isinstance(prepared, Answer):
            answers[i] = prepared
        else:
            waiting.append((i, prepared))
    # A new engine for each shard: its answers do not depend on what the cache held before.
    engine = Engine(model, limits=limits, load_prompt=lambda label: preparation.loaded[label])
    running: dict[str, tuple[int, Prepared]] = {}
    while waiting or running:
        check()
        _submit(engine, waiting=waiting, running=running, answers=answers)
        for event in engine.step():
            _take(event, running=running, answers=answers)
    return [answers[i] for i in range(len(lines))]


def _submit(
    engine: Engine,
    *,
    waiting: deque[tuple[int, Prepared]],
    running: dict[str, tuple[int, Prepared]],
    answers: dict[int, Answer],
) -> None:
    """Submit requests until the queue is full."""
    while waiting:
        i, prepared = waiting[0]
        try:
            engine.submit(prepared.generate)
            running[prepared.generate.request_id] = (i, prepared)
        except Busy:
            return
        except AtlasError as error:
            answers[i] = _failed(error, prepared)
        waiting.popleft()


def _take(event: Event, *, running: dict[str, tuple[int, Prepared]], answers: dict[int, Answer]) -> None:
    i, prepared = running[event.request_id]
    if isinstance(event, Delta | RowDone):
        prepared.builder.add(event)
    elif isinstance(event, Failed):
        answers[i] = _failed(event.error, prepared)
        del running[event.request_id]
    elif isinstance(event, Done):
        answers[i] = Answer(status=200, body=prepared.builder.json(prepared.builder.complete()))
        del running[event.request_id]


def _failed(error: AtlasError, prepared: Prepared) -> Answer:
    return Answer.of_error(prepared.builder.error_of(error) if isinstance(error, InvalidRequest) else error)
