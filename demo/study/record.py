"""The record of a study: what was decided and measured so far. It is kept in ``study.json``, so that a study can be continued."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from demo.study.plan import Size

FILE: Final = "study.json"


class WrongRecord(ValueError):
    """The record in the output folder belongs to another study."""


@dataclass(frozen=True, kw_only=True)
class Done:
    """A run of the study. seconds: its duration; predicted_s: what the cost model expected; None: not predicted."""

    run_id: str
    seconds: float
    predicted_s: float | None = None
    prompts: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Record:
    """Decisions and results of a study.

    dtype: of the model. minutes: the time limit. token_s: measured seconds per token of a training step. rates: the
    learning rates that the pilots chose, by method; searched: the validation loss of each rate. runs: by name. left_out:
    runs that did not fit into the limit. scores: rows of ``demo.study.scores``. reasons: results of ``demo.study.reasons``, by
    name.
    """

    plan: str
    size: Size
    dtype: str | None = None
    minutes: float | None = None
    token_s: float | None = None
    n_records: Mapping[str, int] = field(default_factory=dict)
    rates: Mapping[str, float] = field(default_factory=dict)
    searched: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    runs: Mapping[str, Done] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    scores: tuple[Mapping[str, Any], ...] = ()
    reasons: Mapping[str, Any] = field(default_factory=dict)

    def with_run(self, name: str, done: Done) -> "Record":
        """The record with a finished run."""
        left_out = tuple(one for one in self.left_out if one != name)
        return replace(self, runs={**self.runs, name: done}, left_out=left_out)

    @property
    def spent_s(self) -> float:
        """Seconds of all runs so far, whichever session performed them."""
        return sum(done.seconds for done in self.runs.values())

    def save(self, folder: Path) -> None:
        """Write ``study.json``, by one rename."""
        temporary = folder / f".{FILE}"
        temporary.write_text(json.dumps(asdict(self), indent=2, allow_nan=False), encoding="utf-8")
        os.replace(temporary, folder / FILE)


def load_record(folder: Path, *, plan: str) -> Record | None:
    """The record in a folder; None if there is none.

    Raises:
        WrongRecord: it belongs to another plan, or is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        sizes = {**found.pop("size")}
        runs = {name: Done(**{**done, "prompts": tuple(done["prompts"])}) for name, done in found.pop("runs").items()}
        left_out, scores = tuple(found.pop("left_out")), tuple(found.pop("scores", ()))
        size = Size(**{**sizes, "seeds": tuple(sizes["seeds"])})
        record = Record(**found, size=size, runs=runs, left_out=left_out, scores=scores)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise WrongRecord(f"{path}: expected the record of a study, got one that cannot be read ({error})") from None
    if record.plan != plan:
        raise WrongRecord(f"{path}: expected the record of the study {plan!r}, got that of {record.plan!r}")
    return record
