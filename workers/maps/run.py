"""The kind ``map``: gather points, fit a basis to each layer, project the points, and measure the quality.

Basis and points of a completed layer are stored and recorded in the checkpoint; the next attempt continues with the other
layers. All layers of a pass are read in the same forwards. The first pass reads the lowest layer alone: that is cheap and
gives the number of points, from which follows how many layers the later passes can hold.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from promptatlas.types.maps import MapQuality, MapSpec

from service.engine.model.hosted_model import HostedModel
from service.map_sources.add_source import add_source
from service.map_sources.gathered_points import GatheredPoints
from service.map_sources.interface import SourceContext, run_to_end
from service.store.artifacts.tensor_codec import encode
from service.store.maps.store import (
    MAP,
    TOKENS,
    VECTORS,
    MapFacts,
    basis_path,
    encode_tokens,
    points_path,
    vectors_path,
)
from service.store.runs.store import RunStore
from workers.maps.fitting import fit_layer
from workers.maps.reader import InProcessMapReader
from workers.maps.tasks import task_silhouette, tasks_of
from workers.priors.sources.sources import Sources
from workers.running.interface import RunContext
from workers.states.texts import Encoder

DONE = "layers.json"
"""File of a checkpoint: the quality of each completed layer."""

MEMORY_BYTES = 256 << 20
"""Vectors of one pass in memory; more are in a temporary file."""

PASS_BYTES = 8 << 30
"""Vectors of one pass altogether, if it has several layers."""

KEPT_BYTES = 256 << 20
"""Vectors of a layer that are stored for the search of neighbours; more are not stored."""


def make_map(run: RunContext) -> Mapping[str, float]:
    """Store ``map.json``, ``tokens.safetensors``, and for each layer ``basis.{layer}``, ``points.{layer}`` and
    ``vectors.{layer}.safetensors``.

    Returns:
        ``n_points``, and by layer ``{layer}/trustworthiness`` and the other measures of its quality.

    Raises:
        InvalidRequest, NotFound, DamagedArtifact, EngineFault: the sources cannot be read, or no longer.
    """
    spec = MapSpec.model_validate_json(json.dumps(dict(run.spec)))
    return _Attempt(run, spec, run.load_model(spec.model)).execute()


class _Attempt:
    """One attempt at a map run."""

    def __init__(self, run: RunContext, spec: MapSpec, model: HostedModel) -> None:
        self._run = run
        self._spec = spec
        self._model = model
        self._layers = sorted({layer % model.architecture.n_layers for layer in spec.layers})
        self._names = [source.name or f"source {i}" for i, source in enumerate(spec.sources)]
        priors = Sources(model, datasets=run.datasets, prompts=run.prompts, check=run.check)
        self._reader = InProcessMapReader(run, model, priors=priors)
        self._done = _load_done(run.load_checkpoint())
        self._progress = _Progress(run, n_layers=len(self._layers), n_sources=len(spec.sources))

    def execute(self) -> dict[str, float]:
        self._progress.skip(len(self._done))
        remaining = [layer for layer in self._layers if layer not in self._done]
        n_at_once = 1
        while remaining:
            layers, remaining = remaining[:n_at_once], remaining[n_at_once:]
            with GatheredPoints(layers, d_model=self._model.d_model, memory_bytes=MEMORY_BYTES) as points:
                self._gather(points)
                n_at_once = max(1, PASS_BYTES // max(1, points.n_bytes(layers[0])))
                for layer in layers:
                    self._run.check()
                    self._finish_layer(layer, points)
        return self._finish()

    def _gather(self, points: GatheredPoints) -> None:
        self._progress.begin_pass(len(points.layers))
        context = SourceContext(
            model=self._model.card.name,
            revision=self._model.card.revision,
            prompts=self._run.prompts,
            runs=RunStore(self._run.artifacts),
            datasets=self._run.datasets,
            reader=self._reader,
            points=points,
            progress=self._progress.update,
        )
        for source, name in zip(self._spec.sources, self._names, strict=True):
            self._run.check()
            run_to_end(add_source(source, name=name, to=context))
            self._progress.next_source()

    def _finish_layer(self, layer: int, points: GatheredPoints) -> None:
        vectors = points.vectors(layer)
        fitted = fit_layer(vectors, layer=layer, spec=self._spec)
        self._run.check()
        basis = encode(fitted.basis.tensors(), metadata=dict(fitted.basis.facts()))
        self._run.save_output(basis_path(layer), basis)
        placed = points.labels(layer).points(fitted.places)
        self._run.save_output(points_path(layer), encode(placed.tensors(), metadata={"layer": layer}))
        if self._spec.keep_vectors and points.n_bytes(layer) <= KEPT_BYTES:
            self._run.save_output(vectors_path(layer), encode({VECTORS: vectors}, metadata={"layer": layer}))
        tasks = tasks_of(placed, spec=self._spec, names=self._names)
        separation = task_silhouette(vectors, tasks, sample=self._spec.sample, seed=self._spec.seed)
        self._done[layer] = fitted.quality.model_copy(update={"task_silhouette": separation})
        kept = {str(done): quality.model_dump(mode="json") for done, quality in self._done.items()}
        self._run.save_checkpoint({DONE: json.dumps(kept).encode()})
        self._progress.finish_layer()

    def _finish(self) -> dict[str, float]:
        encoder = Encoder(self._model)
        n_tokens = min(self._model.catalogue.vocab_size, encoder.n_tokens)
        self._run.save_output(TOKENS, encode_tokens(list(map(encoder.token_text, range(n_tokens)))))
        quality = [self._done[layer] for layer in self._layers]
        facts = MapFacts(
            model=self._model.card.name,
            revision=self._model.card.revision,
            method=self._spec.method,
            n_components=self._spec.n_components,
            layers=self._layers,
            sources=self._names,
            n_points=sum(each.n_points for each in quality),
            quality=[each.model_dump(mode="json") for each in quality],
            added=list(encoder.added),
            max_tokens=encoder.longest,
            skips_first=encoder.skips_first,
        )
        self._run.save_output(MAP, facts.to_bytes())
        return {"n_points": float(facts.n_points), **_numbers(quality)}


class _Progress:
    """Progress in hundredths of one source at one layer; fitting a layer counts as one more source."""

    def __init__(self, run: RunContext, *, n_layers: int, n_sources: int) -> None:
        self._run = run
        self._per_layer = 100 * (n_sources + 1)
        self._total = self._per_layer * n_layers
        self._step = 0.0
        self._n_layers_of_pass = 1

    def skip(self, n_layers: int) -> None:
        """Earlier attempts completed ``n_layers``."""
        self._step += n_layers * self._per_layer
        self._report(self._step)

    def begin_pass(self, n_layers: int) -> None:
        """The next sources are read at ``n_layers`` layers together."""
        self._n_layers_of_pass = n_layers

    def update(self, share: float) -> None:
        """``share`` of the current source is done, 0 to 1."""
        self._report(self._step + 100 * min(share, 1.0) * self._n_layers_of_pass)

    def next_source(self) -> None:
        """The current source is done."""
        self._step += 100 * self._n_layers_of_pass
        self._report(self._step)

    def finish_layer(self) -> None:
        """A layer is fitted and stored."""
        self._step += 100
        self._report(self._step)

    def _report(self, step: float) -> None:
        self._run.progress(min(int(step), self._total), self._total)


def _load_done(checkpoint: Mapping[str, bytes] | None) -> dict[int, MapQuality]:
    if checkpoint is None:
        return {}
    return {int(layer): MapQuality.model_validate(found) for layer, found in json.loads(checkpoint[DONE]).items()}


def _numbers(quality: Sequence[MapQuality]) -> dict[str, float]:
    names = (
        "trustworthiness",
        "neighbor_overlap",
        "placed_trustworthiness",
        "refitted_trustworthiness",
        "placed_neighbor_overlap",
        "refitted_neighbor_overlap",
        "task_silhouette",
    )
    return {
        f"{each.layer}/{name}": float(value)
        for each in quality
        for name in names
        if (value := getattr(each, name)) is not None
    }
