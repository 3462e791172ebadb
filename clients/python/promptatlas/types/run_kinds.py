"""Table of the kinds of runs: the spec of each kind and one sentence about it.

Planning, OpenAPI, the SDK and the command line read this table. How the service checks a spec and which worker function
performs it is in ``service/planning/run_kinds.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from promptatlas.types.batches import BatchSpec
from promptatlas.types.distillation import DistillSpec
from promptatlas.types.generation import GenerateSpec
from promptatlas.types.harvest import HarvestSpec
from promptatlas.types.maps import MapSpec
from promptatlas.types.priors import SampleBody
from promptatlas.types.reports import ReportSpec
from promptatlas.types.tuning import EvaluateSpec, TuneSpec
from promptatlas.types.wire import RequestBody

RunKind = Literal["tune", "distill", "evaluate", "generate", "batch", "harvest", "map", "report", "sample"]
"""``sample`` runs are started by ``POST /v1/priors/sample``, ``batch`` runs by ``POST /v1/batches``."""


@dataclass(frozen=True, kw_only=True)
class RunKindInfo:
    """A kind of run. spec: type of its spec. description: one sentence for people."""

    spec: type[RequestBody]
    description: str


RUN_KINDS: Mapping[RunKind, RunKindInfo] = MappingProxyType(
    {
        "tune": RunKindInfo(spec=TuneSpec, description="Tunes prompts from priors and stores them as versions."),
        "distill": RunKindInfo(spec=DistillSpec, description="Tunes prompts to reproduce a teacher."),
        "evaluate": RunKindInfo(spec=EvaluateSpec, description="Measures prompts on the examples of a dataset."),
        "generate": RunKindInfo(spec=GenerateSpec, description="Samples from a model for every item of a dataset."),
        "batch": RunKindInfo(spec=BatchSpec, description="Answers the requests of a file in OpenAI's format."),
        "harvest": RunKindInfo(spec=HarvestSpec, description="Reads activations of a dataset's texts into shards."),
        "map": RunKindInfo(spec=MapSpec, description="Fits a projection of states and prompts to 2 or 3 dimensions."),
        "report": RunKindInfo(spec=ReportSpec, description="Measures the paper's findings on a model and its prompts."),
        "sample": RunKindInfo(spec=SampleBody, description="Draws vectors from a prior before any tuning."),
    }
)
"""All kinds, in the order in which they are listed to users."""
