"""What a harvest was asked, and the model it reads: the same for the worker whose run it is and for its helpers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from promptatlas.types.harvest import HarvestSpec
from promptatlas.types.sites import PositionSlice, ProjectReduction

from service.errors import Conflict, InvalidRequest
from service.store.datasets.items import DatasetInfo
from service.store.maps.store import MapStore
from service.store.runs.store import RunStore
from workers.harvest.plan import HarvestPlan, make_plan
from workers.harvest.readers.reader import HarvestReader
from workers.running.interface import WorkContext

if TYPE_CHECKING:
    from service.engine.requests import Positions, Projection
    from service.store.datasets.items import Example


@dataclass(frozen=True, kw_only=True)
class HarvestContext:
    """One harvest as one worker has it."""

    place: WorkContext
    spec: HarvestSpec
    dataset: DatasetInfo
    reading: HarvestReader

    @classmethod
    def of(cls, place: WorkContext) -> HarvestContext:
        """Look up what the run's spec names, and load the model."""
        spec = read_spec(place.spec)
        return cls(place=place, spec=spec, dataset=place.datasets.get(spec.dataset), reading=open_reading(place, spec))

    def examples(self) -> Iterator[Example]:
        """All that is asked for, in order."""
        spec = self.spec
        return self.place.datasets.examples(spec.dataset, split=spec.split, n=spec.n, template=spec.template)

    def plan(self) -> HarvestPlan:
        """Count the tokens of all texts; takes a while."""
        return make_plan(
            self.reading,
            self.examples(),
            dataset_sha256=self.dataset.sha256,
            shard_bytes=self.spec.shard_bytes,
            check=self.place.check,
        )

    def require_same(self, plan: HarvestPlan) -> None:
        """Refuse to go on with a plan for another model, prompt or dataset; Conflict."""
        identity = self.reading.identity
        for what, now, then in (
            ("model's weights", identity.revision, plan.revision),
            ("prompt", identity.prompt_sha256, plan.prompt_sha256),
            ("dataset", self.dataset.sha256, plan.dataset_sha256),
        ):
            if now != then:
                raise Conflict(f"The {what} changed since this run began: start a new one with the same spec.")


def read_spec(stored: Mapping[str, Any]) -> HarvestSpec:
    """A run's spec as its type has it."""
    # Through JSON, because the type is strict about JSON's types and not Python's.
    return HarvestSpec.model_validate_json(json.dumps(dict(stored)))


def open_reading(place: WorkContext, spec: HarvestSpec) -> HarvestReader:
    """The reading that a spec asks for.

    Raises:
        NotFound, InvalidRequest, DamagedArtifact, UnsupportedModel: it cannot be done, or no longer.
    """
    sources = {source.name: source.path for source in place.settings.read_models}
    if spec.model in sources:
        return _two_sided(place, spec, path=sources[spec.model])
    return _causal(place, spec)


def _causal(place: WorkContext, spec: HarvestSpec) -> HarvestReader:
    # Here, so that a helper that finds nothing to do need not load torch.
    from service.engine.requests import CaptureSpec
    from workers.evaluation.inputs import engine_limits
    from workers.harvest.readers.causal import CausalReader
    from workers.harvest.readers.texts import TextEncoder
    from workers.states.prompt_choice import choose_prompt

    model = place.load_model(spec.model)
    reduce = _projection(place, spec) if isinstance(spec.reduce, ProjectReduction) else spec.reduce
    return CausalReader(
        model,
        capture=CaptureSpec(
            sites=tuple(spec.sites),
            layers="all" if spec.layers == "all" else tuple(spec.layers),
            positions=_positions(spec),
            reduce=reduce,
            dtype=spec.dtype,
        ),
        prompt=choose_prompt(place.prompts, spec.prompt_ref, model=model),
        encoder=TextEncoder(model.tokenizer, include_target=spec.include_target, max_tokens=spec.max_tokens),
        limits=engine_limits(place.settings),
        check=place.check,
    )


def _two_sided(place: WorkContext, spec: HarvestSpec, *, path: str) -> HarvestReader:
    from workers.harvest.readers.encoder_decoder import EncoderDecoderCapture, EncoderDecoderReader
    from workers.harvest.readers.encoder_decoder_model import EncoderDecoderModel

    if spec.prompt_ref is not None or isinstance(spec.reduce, ProjectReduction):
        raise InvalidRequest("An encoder–decoder is read without a prompt, and there are no maps of it.")
    settings = place.settings
    model = EncoderDecoderModel.load(spec.model, path, device=settings.device, dtype=settings.dtype)
    capture = EncoderDecoderCapture(
        taps=model.shape.resolve(spec.sites, spec.layers),
        positions=_positions(spec),
        reduce=spec.reduce,
        dtype=spec.dtype,
    )
    return EncoderDecoderReader(
        model,
        capture=capture,
        include_target=spec.include_target,
        max_tokens=spec.max_tokens,
        check=place.check,
    )


def _positions(spec: HarvestSpec) -> Positions:
    from service.engine.requests import Slice

    positions = spec.positions
    if isinstance(positions, PositionSlice):
        return Slice(start=positions.start, stop=positions.stop)
    return positions if isinstance(positions, str) else tuple(positions)


def _projection(place: WorkContext, spec: HarvestSpec) -> Projection:
    import torch

    from service.engine.requests import Projection

    assert isinstance(spec.reduce, ProjectReduction)
    maps = MapStore(place.artifacts, runs=RunStore(place.artifacts))
    layers = None if spec.layers == "all" else spec.layers
    basis = maps.linear_basis(spec.reduce.project, layers=layers, loc=("reduce", "project"))
    return Projection(mean=torch.from_numpy(basis.mean.copy()), components=torch.from_numpy(basis.components.copy()))
