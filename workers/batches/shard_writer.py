"""Writer of shards: the share of one worker in a batch."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from promptatlas.types.batches import BatchSpec

from service.engine.model.hosted_model import HostedModel
from service.errors import Conflict
from service.store.client_files import ClientFiles
from service.store.runs.ids import made_at
from service.store.runs.records import Output
from workers.batches.answering import answer_all
from workers.batches.input_file import LineRequest, requests_in
from workers.batches.plan import BatchPlan
from workers.batches.preparation import Answer, Preparation
from workers.inputs.forward_records import ForwardRecords
from workers.inputs.limits import engine_limits
from workers.running.interface import WorkContext
from workers.running.shards.sharing import Before, Done, write_leased
from workers.running.shards.store import ShardFiles


class ShardWriter:
    """Answers and stores shards, coordinated with other workers by leases."""

    def __init__(self, place: WorkContext, *, spec: BatchSpec, plan: BatchPlan, store: ShardFiles) -> None:
        self._place = place
        self._spec = spec
        self._plan = plan
        self._store = store
        self._model: HostedModel = place.load_model(spec.model)
        if self._model.card.revision != plan.revision:
            raise Conflict("The model's weights have changed since this batch started: start a new one.")

    def write(self, wanted: Collection[int], *, before: Before, done: Done) -> None:
        """Write those of the wanted shards that no other worker has leased, in order, in one pass over the file."""
        records = ForwardRecords(self._requests)
        write_leased(
            wanted,
            place=self._place,
            store=self._store,
            compute=lambda number: self._answer(number, records),
            before=before,
            done=done,
        )

    def _requests(self) -> Iterator[LineRequest]:
        stream, _ = ClientFiles(self._place.artifacts).open(self._spec.input_file_id)
        with closing(stream):
            yield from requests_in(stream, spec=self._spec)

    def _answer(self, number: int, records: ForwardRecords[LineRequest]) -> Output:
        lines = list(records.take(*self._plan.requests_of(number)))
        run_id = self._place.run_id.removeprefix("run-")
        preparation = Preparation(
            self._model, spec=self._spec, prompts=self._place.prompts, created_s=_created_s(self._place.run_id)
        )
        answers = answer_all(
            lines,
            model=self._model,
            preparation=preparation,
            limits=engine_limits(self._place.settings),
            check=self._place.check,
            id_of=lambda line: f"{run_id}-{line.number}",
        )
        self._place.check()
        results = [_result(line, answer, run_id=run_id) for line, answer in zip(lines, answers, strict=True)]
        return self._store.write(number, lambda file: _write(file, results))


def _result(line: LineRequest, answer: Answer, *, run_id: str) -> Mapping[str, Any]:
    """A line of the output or of the errors."""
    request_id = f"{run_id}-{line.number}"
    response = {"status_code": answer.status, "request_id": request_id, "body": json.loads(answer.body)}
    return {"id": f"batch_req_{request_id}", "custom_id": line.custom_id, "response": response, "error": None}


def _write(file: Path, results: list[Mapping[str, Any]]) -> None:
    with file.open("wb") as target:
        for result in results:
            # ASCII: a custom_id may contain lone surrogates, which UTF-8 may not.
            target.write(json.dumps(result).encode() + b"\n")


def _created_s(run_id: str) -> int:
    return int(made_at(run_id).timestamp())
