"""From what a client asks to what is stored of a run: one entry for each kind that can be asked for here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from promptatlas.types import EvaluateSpec, HarvestSpec, MapSpec, ReportSpec, RequestBody, RunKind, SampleBody, TuneSpec

from service.errors import AtlasError, InvalidRequest
from service.planning.context import Lookup, PlanningContext
from service.planning.kinds.evaluate import complete_evaluate
from service.planning.kinds.harvest import complete_harvest
from service.planning.kinds.map import complete_map
from service.planning.kinds.report import complete_report
from service.planning.kinds.sample import complete_sample
from service.planning.kinds.tune import complete_tune
from service.planning.specs import Loc, dump_spec, parse_spec

Spec = TypeVar("Spec", bound=RequestBody)


@dataclass(frozen=True, kw_only=True)
class Kind(Generic[Spec]):
    """How a kind of run is asked for. complete: checks a spec and fills in what depends on the surroundings."""

    spec: type[Spec]
    complete: Callable[[Spec, Lookup], Spec]


KINDS: Mapping[RunKind, Kind[Any]] = {
    "tune": Kind(spec=TuneSpec, complete=complete_tune),
    "evaluate": Kind(spec=EvaluateSpec, complete=complete_evaluate),
    "harvest": Kind(spec=HarvestSpec, complete=complete_harvest),
    "map": Kind(spec=MapSpec, complete=complete_map),
    "report": Kind(spec=ReportSpec, complete=complete_report),
    "sample": Kind(spec=SampleBody, complete=complete_sample),
}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be stored of a run: its complete spec, and what the names in it meant; see the package."""

    spec: Mapping[str, Any]
    resolved: Mapping[str, Any]


def plan(kind: RunKind, spec: Mapping[str, Any], *, around: PlanningContext, at: Loc = ("spec",)) -> Plan:
    """Check a spec and complete it.

    Args:
        at: where the spec stands in the request, for errors.

    Raises:
        BrokenSpec: it has not the form of its kind.
        NotFound, InvalidRequest: it cannot work; ``loc`` says which field is to blame.
    """
    found = KINDS.get(kind)
    if found is None:
        raise InvalidRequest(f"No worker here does {kind!r}; the kinds are: {', '.join(KINDS)}.", loc=("kind",))
    parsed = parse_spec(found.spec, spec, at=at)
    lookup = Lookup(around=around)
    try:
        complete = found.complete(parsed, lookup)
    except AtlasError as error:
        raise type(error)(error.detail, loc=at + (error.loc or ()), retry_after_s=error.retry_after_s) from error
    return Plan(spec=dump_spec(complete), resolved=lookup.resolved)
