"""``promptatlas map``."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import safetensors
import safetensors.numpy
import typer

from promptatlas.cli import parsing
from promptatlas.cli.connection import client_for
from promptatlas.cli.options import (
    ApiKey,
    AsJson,
    ChangesOption,
    ConcatOption,
    MixOption,
    ModelOption,
    PromptRefOption,
    RunNameOption,
    SpecArgument,
    Url,
    WatchOption,
    Yes,
    examples,
)
from promptatlas.cli.output import confirm_deletion, joined, print_deleted, print_json, print_table
from promptatlas.cli.spec_files import read_spec, with_changes
from promptatlas.cli.watching import start
from promptatlas.results.maps.columns import AXES
from promptatlas.results.maps.points import Points
from promptatlas.results.maps.view import MapView
from promptatlas.types import MapMethod, NeighborMetric

MapArgument = Annotated[str, typer.Argument(help="Id of the map, which is also that of its run.")]
LayerOption = Annotated[int | None, typer.Option("--layer", "-l", help="Only this layer.")]


def make(
    context: typer.Context,
    spec: SpecArgument = None,
    model: ModelOption = None,
    datasets: Annotated[
        list[str] | None, typer.Option("--dataset", "-d", help="Map the activations of this dataset; repeatable.")
    ] = None,
    prompts: Annotated[
        list[str] | None, typer.Option("--prompt", "-p", help="Map the vectors of this prompt; repeatable.")
    ] = None,
    vocabulary: Annotated[bool, typer.Option("--vocabulary", help="Map the token embeddings.")] = False,
    method: Annotated[MapMethod | None, typer.Option("--method", help="Method of the projection.")] = None,
    layers: Annotated[
        str | None,
        typer.Option("--layers", "-l", help="Layers, as in 0,3: 0 is the embeddings, l the input of block l."),
    ] = None,
    changes: ChangesOption = None,
    name: RunNameOption = None,
    watched: WatchOption = False,
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Fit a map to datasets, prompts, priors, trajectories or embeddings."""
    sources: list[dict[str, Any]] = [{"dataset": dataset, "name": dataset} for dataset in datasets or ()]
    sources += [{"prompts": prompts, "name": "prompts"}] if prompts else []
    sources += [{"embeddings": "vocabulary", "name": "vocabulary"}] if vocabulary else []
    chosen = None if layers is None else parsing.layers(layers)
    given = parsing.given(model=model, method=method, layers=chosen)
    file = {} if spec is None else read_spec(spec)
    merged = {**file, **given, "sources": [*file.get("sources", ()), *sources]}
    with client_for(context, url, api_key) as client:
        run = client.runs.create("map", with_changes(merged, changes or []), name=name)
        start(run, watched=watched, as_json=as_json)


def list_maps(
    context: typer.Context,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Maximum number of rows.")] = 20,
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """List maps, newest first."""
    with client_for(context, url, api_key) as client:
        rows = list(islice(client.maps.list(limit=limit), limit))
    if as_json:
        print_json(rows)
        return
    names = ("id", "method", "layers", "n_points", "sources", "name")
    cells = [(row.id, row.method, joined(row.layers), row.n_points, joined(row.sources), row.name) for row in rows]
    print_table(names, cells)


def get(
    context: typer.Context,
    map_id: MapArgument,
    layer: LayerOption = None,
    to: Annotated[
        Path | None, typer.Option("--to", "-o", help="File to write: .html for a plot, .csv for the points.")
    ] = None,
    color: Annotated[str, typer.Option("--color", help="Column to colour the plot by.")] = "source",
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Show the sources and the quality of a map, and save its points or a plot."""
    with client_for(context, url, api_key) as client:
        found = client.maps.get(map_id, layer=layer)
    if to is not None:
        _write(found, to, color=color)
    if as_json:
        print_json(found.info)
        return
    typer.echo(f"{found.id} {found.method} of {found.model}, layers {joined(found.layers)}: {len(found)} points here")
    typer.echo(f"sources: {joined(found.sources)}")
    names = ("layer", "n_points", "explained_variance", "trustworthiness", "neighbor_overlap")
    print_table(names, [[_cell(getattr(each, name)) for name in names] for each in found.quality.values()])
    if to is not None:
        typer.echo(f"{to}: {to.stat().st_size} bytes")


def project(
    context: typer.Context,
    map_id: MapArgument,
    texts: Annotated[list[str] | None, typer.Argument(help="Texts; - is standard input.")] = None,
    prompt_ref: PromptRefOption = None,
    mix: MixOption = None,
    concat: ConcatOption = None,
    per_token: Annotated[
        bool, typer.Option("--per-token", help="One point for each token instead of each text.")
    ] = False,
    vectors: Annotated[Path | None, typer.Option("--vectors", help="Safetensors file with [n, d_model].")] = None,
    layers: Annotated[
        str | None, typer.Option("--layers", "-l", help="Layers of the map to project onto, as in 0,3; default: all.")
    ] = None,
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Project texts or vectors onto an existing map."""
    options: dict[str, Any] = parsing.prompt_choice(prompt_ref, mix, concat)
    options |= {"texts": parsing.texts(texts)} if texts else {}
    options |= {"per": "token"} if per_token else {}
    chosen = None if layers is None else parsing.layers(layers)
    options |= parsing.given(layers=None if chosen == "all" else chosen)
    options |= {} if vectors is None else {"vectors": _vectors(vectors)}
    with client_for(context, url, api_key) as client:
        points = client.maps.get(map_id).project(**options)
    if as_json:
        print_json(_rows(points))
        return
    axes = [axis for axis in AXES if axis in points.axis_names(0)]
    names = ("layer", *axes, "token", "text")
    # Quoted, since tokens may begin with a space.
    rows = [{**row, "token": None if row["token"] is None else repr(row["token"])} for row in _rows(points)]
    print_table(names, [[_cell(row[name]) for name in names] for row in rows])


def neighbors(
    context: typer.Context,
    map_id: MapArgument,
    point: Annotated[int, typer.Argument(min=0, help="Index of the point among the points of its layer.")],
    layer: Annotated[int | None, typer.Option("--layer", "-l", help="Layer of the point; default: the lowest.")] = None,
    k: Annotated[int, typer.Option("-k", min=1, max=100, help="Number of neighbours.")] = 10,
    metric: Annotated[NeighborMetric, typer.Option("--metric", help="Distance in the original space.")] = "euclidean",
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """List the nearest points of a point in the original space."""
    with client_for(context, url, api_key) as client:
        found = client.maps.get(map_id, layer=layer)
        nearest = found.neighbors(point, k=k, metric=metric)
    if as_json:
        print_json(nearest)
        return
    columns = zip(
        nearest.index, nearest.distance, nearest.role, nearest.source, nearest.token, nearest.text, strict=True
    )
    rows = [
        (index, _cell(distance), role, source, None if token is None else repr(token), text)
        for index, distance, role, source, token, text in columns
    ]
    print_table(("index", "distance", "role", "source", "token", "text"), rows)


def delete(
    context: typer.Context,
    map_id: MapArgument,
    yes: Yes = False,
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Delete a map. Its run stays."""
    confirm_deletion(map_id, yes=yes)
    with client_for(context, url, api_key) as client:
        client.maps.delete(map_id)
    print_deleted(map_id, as_json=as_json)


def _write(found: MapView, to: Path, *, color: str) -> None:
    if to.suffix == ".html":
        found.plot(color=color).write_html(to)
    elif to.suffix == ".csv":
        found.to_pandas().to_csv(to, index=False)
    else:
        raise typer.BadParameter(f"--to: expected a file that ends in .html or .csv, got {str(to)!r}")


def _vectors(path: Path) -> np.ndarray[Any, Any]:
    """The tensor ``vectors`` of a file, or its only tensor."""
    try:
        tensors = safetensors.numpy.load_file(path)
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path}: expected a safetensors file: {error}") from error
    if "vectors" not in tensors and len(tensors) != 1:
        raise ValueError(f"{path}: expected a tensor 'vectors', or only one; got {joined(sorted(tensors)) or 'none'}")
    return tensors["vectors"] if "vectors" in tensors else next(iter(tensors.values()))


def _rows(points: Points) -> list[dict[str, Any]]:
    names = ("layer", *points.axis_names(0), "source", "role", "text", "token", "prompt")
    columns = [getattr(points, name).tolist() for name in names]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _cell(value: Any) -> Any:
    if isinstance(value, list):
        return joined(map(_cell, value))
    return f"{value:.4g}" if isinstance(value, float) else value


def commands() -> typer.Typer:
    """The group ``map``."""
    group = typer.Typer(no_args_is_help=True, help="Maps of prompts, priors and activations.")
    makes = (
        "promptatlas map make -m demo -d demo-qa -d demo-text --layers 0,3 --watch",
        "promptatlas map make -m demo -p qa@1 --vocabulary --set sources.0.snapshots=true",
        "promptatlas map make atlas.yaml --method umap --set seed=1",
    )
    places = (
        'promptatlas map project run-1 "Ana is in the kitchen." -p qa@2',
        "promptatlas map project run-1 --vectors draw.safetensors --layers 0 --json",
    )
    gets = ("promptatlas map get run-1", "promptatlas map get run-1 --layer 3 --color task -o map.html")
    group.command("make", epilog=examples(*makes))(make)
    group.command("list", epilog=examples("promptatlas map list"))(list_maps)
    group.command("get", epilog=examples(*gets))(get)
    group.command("project", epilog=examples(*places))(project)
    nearest = "promptatlas map neighbors run-1 17 --layer 3 --metric cosine"
    group.command("neighbors", epilog=examples(nearest))(neighbors)
    group.command("delete", epilog=examples("promptatlas map delete run-1 --yes"))(delete)
    return group
