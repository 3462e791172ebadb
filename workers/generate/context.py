"""Context of a ``generate`` run: spec, dataset and model, for the worker that owns the run and for its helpers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from promptatlas.types.generation import GenerateSpec

from service.errors import Conflict
from service.store.datasets.items import DatasetInfo
from workers.generate.plan import GeneratePlan, make_plan
from workers.generate.samples.source import SampleSource
from workers.generate.shards import TraceShards
from workers.inputs.framing import Framing
from workers.running.interface import WorkContext

if TYPE_CHECKING:
    from service.store.datasets.items import Example


@dataclass(frozen=True, kw_only=True)
class GenerateContext:
    """One run on one worker."""

    place: WorkContext
    spec: GenerateSpec
    dataset: DatasetInfo
    framing: Framing
    source: SampleSource

    @classmethod
    def of(cls, place: WorkContext) -> GenerateContext:
        """Resolve the spec of the run and load the model."""
        spec = read_spec(place.spec)
        return cls(
            place=place,
            spec=spec,
            dataset=place.datasets.get(spec.dataset),
            framing=Framing.of(
                spec.context,
                datasets=place.datasets,
                dataset=spec.dataset,
                seed=spec.seed,
                template=spec.template,
            ),
            source=_source_of(place, spec),
        )

    def examples(self) -> Iterator[Example]:
        """Items of the spec, in order."""
        spec = self.spec
        return self.place.datasets.examples(spec.dataset, split=spec.split, n=spec.n_items, template=spec.template)

    def plan(self) -> GeneratePlan:
        """Make the plan."""
        spec, info = self.spec, self.dataset
        n_items = info.n_records if spec.split is None else info.splits.get(spec.split, 0)
        return make_plan(
            spec,
            identity=self.source.identity,
            dataset_sha256=info.sha256,
            n_items=n_items if spec.n_items is None else min(spec.n_items, n_items),
        )

    def require_same(self, plan: GeneratePlan) -> None:
        """Raise Conflict if model, prompts or dataset changed since the plan was made."""
        now, then = self.source.identity, plan.identity
        for what, one, other in (
            ("model's weights", now.revision, then.revision),
            ("model's tokenizer", now.tokenizer_sha256, then.tokenizer_sha256),
            ("prompts", now.prompts_sha256, then.prompts_sha256),
            ("dataset", self.dataset.sha256, plan.dataset_sha256),
        ):
            if one != other:
                verb = "have" if what == "prompts" else "has"
                raise Conflict(f"The {what} {verb} changed since this run started: start a new run with the same spec.")


def read_spec(stored: Mapping[str, Any]) -> GenerateSpec:
    """Parse a stored spec."""
    # Through JSON, because strict validation distinguishes JSON types, not Python types.
    return GenerateSpec.model_validate_json(json.dumps(dict(stored)))


def shards_of(place: WorkContext, *, spec: GenerateSpec, run_id: str | None = None) -> TraceShards:
    """The shards of the run, or of another run with the same samples."""
    return TraceShards(place.artifacts, run_id=run_id or place.run_id, has_top_tokens=spec.logprobs is not None)


def _source_of(place: WorkContext, spec: GenerateSpec) -> SampleSource:
    # Imported here, so that a helper without work, and a run with a teacher, do not load torch.
    if spec.teacher is not None:
        from workers.generate.teachers.source import TeacherSource

        return TeacherSource.of(spec, settings=place.settings, check=place.check)
    from workers.generate.samples.hosted import HostedSource
    from workers.inputs.limits import engine_limits
    from workers.states.prompt_choice import choose_prompt

    model = place.load_model(spec.model)
    return HostedSource(
        model,
        spec=spec,
        prompts=[choose_prompt(place.prompts, ref, model=model) for ref in spec.prompt_refs],
        limits=engine_limits(place.settings),
        check=place.check,
    )
