"""The kind ``map``: gather points, fit a basis to each layer, place them, say how true it is.

A layer that is done is kept, basis and points, and noted in the checkpoint; whichever attempt comes next goes on with the
others. All layers of a pass are read in the same forwards. The first pass is the lowest layer alone, which costs little and
tells how many points there are, so that the others can be taken as many at once as there is room for.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from promptatlas.types.maps import (
    DatasetSource,
    EmbeddingsMapSource,
    MapQuality,
    MapSpec,
    PriorSource,
    PromptsSource,
    TextsSource,
    TrajectoriesSource,
)

from service.engine.model.hosted_model import HostedModel
from service.store.artifacts.tensor_codec import encode
from service.store.maps.store import MAP, TOKENS, MapFacts, basis_path, encode_tokens, points_path
from service.store.runs.store import RunStore
from workers.maps.fitting import fit_layer
from workers.maps.layer_points import LayerPoints, PointCollector
from workers.maps.sources.priors import add_prior
from workers.maps.sources.prompts import add_prompts
from workers.maps.sources.texts import add_dataset, add_texts
from workers.maps.sources.trajectories import add_trajectories
from workers.maps.sources.vocabulary import add_vocabulary
from workers.priors.sources.sources import Sources
from workers.running.interface import RunContext
from workers.states.texts import Encoder

DONE = "layers.json"
"""File of a checkpoint: the quality of each layer that is done."""

MEMORY_BYTES = 256 << 20
"""Of the vectors of one pass in memory; those of more are in a temporary file."""

SPOOL_BYTES = 8 << 30
"""Of the vectors of one pass altogether, if it has several layers."""

_SOURCES: Mapping[type[Any], Callable[..., None]] = {
    DatasetSource: add_dataset,
    TextsSource: add_texts,
    PromptsSource: add_prompts,
    PriorSource: add_prior,
    TrajectoriesSource: add_trajectories,
    EmbeddingsMapSource: add_vocabulary,
}


def make_map(run: RunContext) -> Mapping[str, float]:
    """Leave ``map.json``, ``tokens.safetensors``, and of each layer ``basis.{layer}`` and ``points.{layer}.safetensors``.

    Returns:
        ``n_points``, and by layer ``{layer}/trustworthiness`` and the other numbers of its quality.

    Raises:
        InvalidRequest, NotFound, DamagedArtifact, EngineFault: the spec cannot be done, or no longer.
    """
    spec = MapSpec.model_validate_json(json.dumps(dict(run.spec)))
    return _Making(run, spec, run.load_model(spec.model)).carry_out()


class _Making:
    """One attempt."""

    def __init__(self, run: RunContext, spec: MapSpec, model: HostedModel) -> None:
        self._run = run
        self._spec = spec
        self._model = model
        self._layers = sorted({layer % model.architecture.n_layers for layer in spec.layers})
        self._names = [source.name or f"source {i}" for i, source in enumerate(spec.sources)]
        self._priors = Sources(model, datasets=run.datasets, prompts=run.prompts, check=run.check)
        self._done = _load_done(run.load_checkpoint())
        self._progress = _Progress(run, n_layers=len(self._layers), n_sources=len(spec.sources))

    def carry_out(self) -> dict[str, float]:
        self._progress.skip(len(self._done))
        remaining = [layer for layer in self._layers if layer not in self._done]
        n_at_once = 1
        while remaining:
            layers, remaining = remaining[:n_at_once], remaining[n_at_once:]
            with self._gathered(layers) as points:
                n_at_once = max(1, SPOOL_BYTES // max(1, points[layers[0]].spool.n_bytes))
                for layer in layers:
                    self._run.check()
                    self._finish_layer(layer, points[layer])
        return self._conclude()

    @contextmanager
    def _gathered(self, layers: Sequence[int]) -> Iterator[Mapping[int, LayerPoints]]:
        memory_bytes = MEMORY_BYTES // len(layers)
        points = {
            layer: LayerPoints(layer=layer, d_model=self._model.d_model, memory_bytes=memory_bytes) for layer in layers
        }
        with ExitStack() as stack:
            for each in points.values():
                stack.enter_context(each.spool)
            self._progress.begin_pass(len(layers))
            gathering = PointCollector(
                run=self._run,
                model=self._model,
                runs=RunStore(self._run.artifacts),
                priors=self._priors,
                layers=layers,
                points=points,
                tell=self._progress.tell,
            )
            for source, name in zip(self._spec.sources, self._names, strict=True):
                self._run.check()
                _SOURCES[type(source)](source, name=name, to=gathering)
                self._progress.next_source()
            yield points

    def _finish_layer(self, layer: int, points: LayerPoints) -> None:
        fitted = fit_layer(points.spool.rows(), layer=layer, spec=self._spec)
        self._run.check()
        basis = encode(fitted.basis.tensors(), metadata=dict(fitted.basis.facts()))
        self._run.save_output(basis_path(layer), basis)
        placed = points.labels.points(fitted.places)
        self._run.save_output(points_path(layer), encode(placed.tensors(), metadata={"layer": layer}))
        self._done[layer] = fitted.quality
        kept = {str(done): quality.model_dump(mode="json") for done, quality in self._done.items()}
        self._run.save_checkpoint({DONE: json.dumps(kept).encode()})
        self._progress.finish_layer()

    def _conclude(self) -> dict[str, float]:
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
        )
        self._run.save_output(MAP, facts.to_bytes())
        return {"n_points": float(facts.n_points), **_numbers(quality)}


class _Progress:
    """In hundredths of a source's work at one layer; fitting a layer counts as one more source."""

    def __init__(self, run: RunContext, *, n_layers: int, n_sources: int) -> None:
        self._run = run
        self._per_layer = 100 * (n_sources + 1)
        self._total = self._per_layer * n_layers
        self._step = 0.0
        self._n_layers_of_pass = 1

    def skip(self, n_layers: int) -> None:
        """So many layers were done by earlier attempts."""
        self._step += n_layers * self._per_layer
        self._say(self._step)

    def begin_pass(self, n_layers: int) -> None:
        """The next sources are read at so many layers at once."""
        self._n_layers_of_pass = n_layers

    def tell(self, share: float) -> None:
        """How much of the present source is done."""
        self._say(self._step + 100 * min(share, 1.0) * self._n_layers_of_pass)

    def next_source(self) -> None:
        """A source is done."""
        self._step += 100 * self._n_layers_of_pass
        self._say(self._step)

    def finish_layer(self) -> None:
        """A layer has been fitted and kept."""
        self._step += 100
        self._say(self._step)

    def _say(self, step: float) -> None:
        self._run.progress(min(int(step), self._total), self._total)


def _load_done(kept: Mapping[str, bytes] | None) -> dict[int, MapQuality]:
    if kept is None:
        return {}
    return {int(layer): MapQuality.model_validate(found) for layer, found in json.loads(kept[DONE]).items()}


def _numbers(quality: Sequence[MapQuality]) -> dict[str, float]:
    names = (
        "trustworthiness",
        "neighbor_overlap",
        "placed_trustworthiness",
        "refitted_trustworthiness",
        "placed_neighbor_overlap",
        "refitted_neighbor_overlap",
    )
    return {
        f"{each.layer}/{name}": float(value)
        for each in quality
        for name in names
        if (value := getattr(each, name)) is not None
    }
