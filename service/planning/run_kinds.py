"""Table of what the service knows of each kind of run: how its spec is completed, and which worker function performs it.

Specs and descriptions of the kinds are in ``promptatlas.types.run_kinds``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from promptatlas.types import RUN_KINDS, RunKind

from service.errors import AtlasError
from service.planning.context import PlanningContext, Resolver
from service.planning.kinds.batch import complete_batch
from service.planning.kinds.distill import complete_distill
from service.planning.kinds.evaluate import complete_evaluate
from service.planning.kinds.generate import complete_generate
from service.planning.kinds.harvest import complete_harvest
from service.planning.kinds.map import complete_map
from service.planning.kinds.report import complete_report
from service.planning.kinds.sample import complete_sample
from service.planning.kinds.tune import complete_tune
from service.planning.specs import Loc, dump_spec, error_at, parse_spec


@dataclass(frozen=True, kw_only=True)
class RunHandler:
    """How a kind of run is planned and performed.

    complete: ``(spec, resolver) -> spec``; validates the spec and fills in the defaults that depend on the model or the
    dataset. perform, help: dotted names ``module:function`` of the workers' functions, which the service never imports;
    help is None where only one worker performs a run.
    """

    complete: Callable[[Any, Resolver], Any]
    perform: str
    help: str | None = None


RUN_HANDLERS: Mapping[RunKind, RunHandler] = MappingProxyType(
    {
        "tune": RunHandler(
            complete=complete_tune, perform="workers.tuning.run:tune", help="workers.tuning.helper:help_tune"
        ),
        "distill": RunHandler(
            complete=complete_distill,
            perform="workers.tuning.distillation.run:distill",
            help="workers.tuning.distillation.helper:help_distill",
        ),
        "evaluate": RunHandler(complete=complete_evaluate, perform="workers.evaluation.run:evaluate"),
        "generate": RunHandler(
            complete=complete_generate,
            perform="workers.generate.run:generate",
            help="workers.generate.helper:help_generate",
        ),
        "batch": RunHandler(
            complete=complete_batch, perform="workers.batches.run:batch", help="workers.batches.helper:help_batch"
        ),
        "harvest": RunHandler(
            complete=complete_harvest,
            perform="workers.harvest.run:harvest",
            help="workers.harvest.helper:help_harvest",
        ),
        "map": RunHandler(complete=complete_map, perform="workers.maps.run:make_map"),
        "report": RunHandler(complete=complete_report, perform="workers.reports.run:report"),
        "sample": RunHandler(complete=complete_sample, perform="workers.priors.run:sample"),
    }
)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is stored of a run: its complete spec, and what the names in it resolved to; see the package."""

    spec: Mapping[str, Any]
    resolved: Mapping[str, Any]


def plan(kind: RunKind, spec: Mapping[str, Any], *, context: PlanningContext, at: Loc = ("spec",)) -> Plan:
    """Validate a spec and complete it.

    Args:
        at: location of the spec in the request, for errors.

    Raises:
        BrokenSpec: the spec does not match the type of its kind.
        NotFound, InvalidRequest: the run cannot work; ``loc`` is the field to blame.
    """
    parsed = parse_spec(RUN_KINDS[kind].spec, spec, at=at)
    resolver = Resolver(context=context)
    try:
        complete = RUN_HANDLERS[kind].complete(parsed, resolver)
    except AtlasError as error:
        raise error_at(error, loc=at + (error.loc or ())) from error
    return Plan(spec=dump_spec(complete), resolved=resolver.resolved)
