"""Context of a harvest: spec, dataset and model reader, for the worker that owns the run and for its helpers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from promptatlas.types.harvest import HarvestSpec
from promptatlas.types.sites import PositionSlice, ProjectReduction

from service.errors import Conflict, InvalidRequest
from service.store.datasets.items import DatasetInfo
from service.store.host_cache import host_cache_folder
from service.store.maps.store import MapStore
from service.store.runs.store import RunStore
from workers.harvest.readers.reader import HarvestReader
from workers.harvest.shards.plan import HarvestPlan, make_plan
from workers.running.interface import WorkContext

if TYPE_CHECKING:
    from service.engine.requests import Positions, Projection
    from service.store.datasets.items import Example


@dataclass(frozen=True, kw_only=True)
class HarvestContext:
    """One harvest on one worker."""

    place: WorkContext
    spec: HarvestSpec
    dataset: DatasetInfo
    reader: HarvestReader

    @classmethod
    def of(cls, place: WorkContext) -> HarvestContext:
        """Resolve the spec of the run and load the model."""
        spec = read_spec(place.spec)
        return cls(place=place, spec=spec, dataset=place.datasets.get(spec.dataset), reader=open_reader(place, spec))

    def examples(self) -> Iterator[Example]:
        """Examples of the spec, in order."""
        spec = self.spec
        return self.place.datasets.examples(spec.dataset, split=spec.split, n=spec.n, template=spec.template)

    def plan(self) -> HarvestPlan:
        """Make the plan. Slow: it tokenizes the whole dataset."""
        return make_plan(
            self.reader,
            self.examples(),
            dataset_sha256=self.dataset.sha256,
            shard_bytes=self.spec.shard_bytes,
            check=self.place.check,
        )

    def require_same(self, plan: HarvestPlan) -> None:
        """Raise Conflict if model, prompt or dataset changed since the plan was made."""
        identity = self.reader.identity
        for what, now, then in (
            ("model's weights", identity.revision, plan.revision),
            ("prompt", identity.prompt_sha256, plan.prompt_sha256),
            ("dataset", self.dataset.sha256, plan.dataset_sha256),
        ):
            if now != then:
                raise Conflict(f"The {what} changed since this run started: start a new run with the same spec.")


def read_spec(stored: Mapping[str, Any]) -> HarvestSpec:
    """Parse a stored spec."""
    # Through JSON, because strict validation distinguishes JSON types, not Python types.
    return HarvestSpec.model_validate_json(json.dumps(dict(stored)))


def open_reader(place: WorkContext, spec: HarvestSpec) -> HarvestReader:
    """Open the reader for a spec: of a hosted causal model, or of an encoder–decoder.

    Raises:
        NotFound, InvalidRequest, DamagedArtifact, UnsupportedModel: Something that the spec names cannot be read.
    """
    sources = {source.name: source.path for source in place.settings.read_models}
    if spec.model in sources:
        return _encoder_decoder_reader(place, spec, path=sources[spec.model])
    return _causal_reader(place, spec)


def _causal_reader(place: WorkContext, spec: HarvestSpec) -> HarvestReader:
    # Imported here, so that a helper without work does not load torch.
    from service.engine.requests import CaptureSpec
    from workers.harvest.readers.causal import CausalReader
    from workers.harvest.readers.texts import TextEncoder
    from workers.inputs.limits import engine_limits
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


def _encoder_decoder_reader(place: WorkContext, spec: HarvestSpec, *, path: str) -> HarvestReader:
    from workers.harvest.readers.encoder_decoder import EncoderDecoderCapture, EncoderDecoderReader
    from workers.harvest.readers.encoder_decoder_model import EncoderDecoderModel

    if spec.prompt_ref is not None or isinstance(spec.reduce, ProjectReduction):
        raise InvalidRequest("Encoder–decoder models support neither prompts nor map projections in a harvest.")
    settings = place.settings
    cache = host_cache_folder(settings.home, cache=settings.cache)
    model = EncoderDecoderModel.load(spec.model, path, device=settings.device, dtype=settings.dtype, cache=cache)
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
