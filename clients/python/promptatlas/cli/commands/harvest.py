"""``promptatlas harvest``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from promptatlas.cli import parsing
from promptatlas.cli.connection import client_for
from promptatlas.cli.options import (
    ApiKey,
    AsJson,
    ConcatOption,
    DTypeOption,
    LayersOption,
    MixOption,
    ModelArgument,
    PromptRefOption,
    ReduceOption,
    RunNameOption,
    Url,
    WatchOption,
    examples,
)
from promptatlas.cli.output import print_json, print_table
from promptatlas.cli.watching import start
from promptatlas.results.harvests.harvest import MANIFEST, Harvest
from promptatlas.types import Split
from promptatlas.types.harvest import ShardFormat


def harvest(
    context: typer.Context,
    model: ModelArgument,
    dataset: Annotated[str, typer.Argument(help="A dataset, as listed by `promptatlas datasets list`, or hub:NAME.")],
    sites: Annotated[
        list[str] | None, typer.Option("--site", "-s", help="Site to read, repeatable; default: resid_post.")
    ] = None,
    layers: LayersOption = "all",
    positions: Annotated[str, typer.Option("--positions", help="all, last, as in 0,-1 or as in 1:.")] = "all",
    reduce: ReduceOption = None,
    split: Annotated[Split | None, typer.Option("--split", help="Only this split.")] = None,
    n: Annotated[int | None, typer.Option("--n", "-n", min=1, help="Only the first n texts.")] = None,
    max_tokens: Annotated[
        int | None, typer.Option("--max-tokens", min=1, help="Truncate texts to this number of tokens.")
    ] = None,
    include_target: Annotated[bool, typer.Option(help="Read input and target, or only the input.")] = True,
    dtype: DTypeOption = "float32",
    format_: Annotated[ShardFormat, typer.Option("--format", "-f", help="Format of the shards.")] = "safetensors",
    shard_bytes: Annotated[
        int | None, typer.Option("--shard-bytes", min=4096, help="Maximum size of a shard in bytes.")
    ] = None,
    prompt_ref: PromptRefOption = None,
    mix: MixOption = None,
    concat: ConcatOption = None,
    name: RunNameOption = None,
    watched: WatchOption = False,
    to: Annotated[
        Path | None, typer.Option("--to", "-o", help="Wait for the run, and download its files to this folder.")
    ] = None,
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Read the activations of a whole dataset into shards, on all idle workers."""
    options: dict[str, Any] = {
        "layers": parsing.layers(layers),
        "positions": parsing.positions(positions),
        "include_target": include_target,
        "dtype": dtype,
        "format": format_,
        **parsing.given(
            split=split,
            n=n,
            max_tokens=max_tokens,
            shard_bytes=shard_bytes,
            reduce=parsing.reduction(reduce),
        ),
        **parsing.prompt_choice(prompt_ref, mix, concat),
    }
    with client_for(context, url, api_key) as client:
        run = client.harvest.create(
            model=model, dataset=dataset, sites=sites or ("resid_post",), run_name=name, **options
        )
        if to is None:
            start(run, watched=watched, as_json=as_json)
            return
        typer.echo(f"run {run.id}", err=True)
        run.wait()
        run.download_all(to=to)
    with Harvest.load(to) as loaded:
        _print_harvest(loaded, as_json=as_json)


def _print_harvest(harvest: Harvest, *, as_json: bool) -> None:
    shapes = {name: list(harvest.shape(name)) for name in harvest.keys()}  # noqa: SIM118
    if as_json:
        print_json(
            {"path": str(harvest.folder), "tensors": shapes, "manifest": harvest.manifest.model_dump(mode="json")}
        )
        return
    print_table(("tensor", "shape"), shapes.items())
    typer.echo(
        f"{harvest.folder / MANIFEST}: {harvest.n_rows} rows of {harvest.n_texts} texts in {harvest.n_shards} shards"
    )


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    lines = (
        "promptatlas harvest demo demo-text -s resid_post -l 3 --reduce mean --watch",
        "promptatlas harvest demo demo-qa -l 2,5 --positions last -p qa@2 --split test -o states/",
        "promptatlas harvest demo hub:wikitext -l 3 --max-tokens 128 -n 10000 --format parquet --dtype float16",
    )
    app.command("harvest", epilog=examples(*lines))(harvest)
