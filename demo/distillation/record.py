"""The record of an experiment: its runs and every answer, in ``experiment.json``, so that it can be continued."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from demo.distillation.size import Size

FILE: Final = "experiment.json"


class WrongRecord(ValueError):
    """The record in the output folder is damaged, or belongs to an experiment of another size."""


@dataclass(frozen=True, kw_only=True)
class Answers:
    """The answers of one prompt to all test chains, in their order.

    run: its name. group, method, what: of the run. prior, seed, rate: of the member; "" and 0 without one. stage: ``before``,
    ``during`` or ``after`` training, or ``context``. step: of training. right: 1 or 0. n_tokens: generated, end of text
    included. loss: validation loss of the member, in nats per token.
    """

    run: str
    group: str
    method: str
    what: str
    prior: str
    seed: int
    rate: float
    stage: str
    step: int
    right: Sequence[int]
    n_tokens: Sequence[int]
    loss: float | None = None


@dataclass(frozen=True, kw_only=True)
class Done:
    """A run that has ended. prompts: of its members, in order. seconds: its duration. cost: predicted, in arbitrary units."""

    run_id: str
    seconds: float
    cost: float
    prompts: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Record:
    """Results so far.

    revision: of the model. rates: learning rates that the pilots chose, by method. searched: validation losses of the pilots.
    curves: validation losses by run and member. left_out: runs that did not fit into the time limit. probes: see
    ``demo.distillation.probes``. spread: points of the map, by source.
    """

    size: Size
    revision: str = ""
    rates: Mapping[str, float] = field(default_factory=dict)
    searched: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    runs: Mapping[str, Done] = field(default_factory=dict)
    answers: Sequence[Answers] = ()
    left_out: Sequence[str] = ()
    probes: Sequence[Mapping[str, Any]] = ()
    spread: Mapping[str, Sequence[Sequence[float]]] = field(default_factory=dict)

    def with_run(self, name: str, done: Done, *, answers: Sequence[Answers] = ()) -> "Record":
        """The record with a run that has ended. Earlier answers of that run are replaced."""
        kept = [one for one in self.answers if one.run != name]
        left_out = [one for one in self.left_out if one != name]
        return replace(self, runs={**self.runs, name: done}, answers=[*kept, *answers], left_out=left_out)

    @property
    def prompts(self) -> dict[str, Sequence[str]]:
        """The prompts of each run."""
        return {name: done.prompts for name, done in self.runs.items()}

    def save(self, folder: Path) -> None:
        """Write the record, by one rename."""
        temporary = folder / f".{FILE}"
        temporary.write_text(json.dumps(asdict(self), allow_nan=False), encoding="utf-8")
        os.replace(temporary, folder / FILE)


def load_record(folder: Path, *, size: Size) -> Record | None:
    """The record in a folder; None if there is none.

    Raises:
        WrongRecord: it is damaged, or of another size.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        written = found.pop("size")
        runs = {name: Done(**done) for name, done in found.pop("runs").items()}
        record = Record(**{**found, "answers": [Answers(**one) for one in found["answers"]]}, size=size, runs=runs)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise WrongRecord(
            f"{path}: expected the record of an experiment, got one that cannot be read ({error})"
        ) from None
    if written != json.loads(json.dumps(asdict(size))):
        raise WrongRecord(f"{path}: expected an experiment of this size, got another one; use another folder")
    return record
