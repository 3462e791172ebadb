"""Measures the collapse of three autoencoders on a model's states, and prints a table.

``vae``: the prior. ``rushed``: the same without warm-up and free bits. ``plain``: also with a likelihood of unit scale, raw
coordinates, latents from N(0, I), and samples without noise. ``gain`` is the mean log-density of unseen points minus that
of a fitted normal distribution, in nats. Defaults: the demo model and the dataset ``demo-qa``.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from promptatlas.types.prior_sources import ActivationsSource, DatasetPoints, EmbeddingsSource, LayerPoints, Source
from promptatlas.types.priors import VaePrior

from service.engine.model.hosted_model import HostedModel
from service.settings import default_datasets_path, default_model_path
from service.store.artifacts.store import ArtifactStore
from service.store.datasets.store import DatasetStore
from service.store.prompts.store import PromptStore
from workers.priors.kinds.vae import Vae, recipe_of
from workers.priors.prior import Facts
from workers.priors.sources.sources import Sources

COLUMNS = (
    "gain",
    "data_effective_rank",
    "effective_rank",
    "variance_ratio_min",
    "variance_ratio_median",
    "variance_ratio_max",
    "active_latents",
    "latent_nats",
)


@dataclass(frozen=True, kw_only=True)
class Line:
    """Facts of one autoencoder on one cloud."""

    place: str
    recipe: str
    facts: Facts


def compare(
    sources: Sources, *, points: DatasetPoints, layers: Sequence[int | None], spec: VaePrior | None = None
) -> Iterator[Line]:
    """Train all three on each cloud; layer None is the token embeddings. Unseen points are from the validation split."""
    for layer in layers:
        source = source_at(points, layer=layer)
        cloud = sources.points(source, layer=layer)
        unseen = sources.points(source_at(points.model_copy(update={"split": "validation"}), layer=layer), layer=layer)
        recipe = recipe_of(spec or VaePrior(fit=source))
        rushed = replace(recipe, warmup=0.0, free_bits=0.0)
        for name, train in (
            ("vae", partial(Vae.train, recipe=recipe)),
            ("rushed", partial(Vae.train, recipe=rushed)),
            ("plain", partial(Vae.train_naively, recipe=recipe)),
        ):
            vae = train(cloud, check=sources.check)
            facts = {**vae.facts, "gain": vae.gain(unseen, cloud=cloud)}
            yield Line(place=place_of(layer), recipe=name, facts=facts)


def place_of(layer: int | None) -> str:
    """A layer in words."""
    return "embeddings" if layer is None else f"layer {layer}"


def source_at(points: DatasetPoints, *, layer: int | None) -> Source:
    """A dataset's points at a block's input, or its token embeddings."""
    if layer is None:
        return EmbeddingsSource(embeddings=points)
    return ActivationsSource(activations=LayerPoints(**points.model_dump(), layer=layer))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table, each line as soon as it is measured."""
    given = _parser().parse_args(arguments)
    model = HostedModel.load("model", str(given.model), device=given.device)
    with tempfile.TemporaryDirectory() as folder:
        artifacts = ArtifactStore(folder)
        datasets = DatasetStore(artifacts, builtin=default_datasets_path(cwd=Path.cwd()))
        sources = Sources(model, datasets=datasets, prompts=PromptStore(artifacts))
        points = DatasetPoints(dataset=given.dataset, n=given.n)
        layers: list[int | None] = [None, *(given.layers or range(1, model.architecture.n_layers))]
        print("| place | autoencoder | " + " | ".join(name.replace("_", " ") for name in COLUMNS) + " |")
        print("|---" * (len(COLUMNS) + 2) + "|")
        for line in compare(sources, points=points, layers=layers):
            numbers = " | ".join(f"{line.facts[name]:.2f}" for name in COLUMNS)
            print(f"| {line.place} | {line.recipe} | {numbers} |", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m workers.priors.vae_collapse", description=__doc__.replace("``", "")
    )
    parser.add_argument("--model", default=default_model_path(cwd=Path.cwd()), help="directory or hub id")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dataset", default="demo-qa")
    parser.add_argument("--n", type=int, default=200, help="texts")
    parser.add_argument(
        "--layers", type=int, nargs="*", help="default: all but the first, whose input is the embeddings"
    )
    return parser


if __name__ == "__main__":
    main()
