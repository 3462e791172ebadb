"""``promptatlas activations`` and ``promptatlas trajectories``."""

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
    MaxTokensOption,
    MixOption,
    ModelArgument,
    PromptRefOption,
    ReduceOption,
    SeedOption,
    TemperatureOption,
    Url,
    examples,
)
from promptatlas.cli.output import print_fields, print_json, print_table
from promptatlas.results.tensors.activations import ActivationCache
from promptatlas.types import DType

InputsArgument = Annotated[list[str], typer.Argument(help="Texts; - is standard input.")]
SitesOption = Annotated[list[str], typer.Option("--site", "-s", help="Site to read, e.g. resid_post; repeatable.")]


def activations(
    context: typer.Context,
    model: ModelArgument,
    inputs: InputsArgument,
    sites: SitesOption,
    layers: LayersOption = "all",
    positions: Annotated[str, typer.Option("--positions", help="all, last, as in 0,-1 or as in 2:5.")] = "all",
    include_virtual: Annotated[
        bool, typer.Option("--include-virtual", help="Include the positions of the prompt.")
    ] = False,
    reduce: ReduceOption = None,
    dtype: DTypeOption = "float32",
    prompt_ref: PromptRefOption = None,
    mix: MixOption = None,
    concat: ConcatOption = None,
    to: Annotated[Path, typer.Option("--to", "-o", help="File to write.")] = Path("activations.safetensors"),
    estimate: Annotated[bool, typer.Option("--estimate", help="Print the cost without running the model.")] = False,
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Save activations of texts to a safetensors file."""
    options: dict[str, Any] = {"positions": parsing.positions(positions), "include_virtual": include_virtual}
    options |= _capture_options(layers, reduce, dtype, parsing.prompt_choice(prompt_ref, mix, concat))
    texts = parsing.texts(inputs)
    with client_for(context, url, api_key) as client:
        if estimate:
            cost = client.activations.estimate(model=model, inputs=texts, sites=sites, **options)
            (print_json if as_json else print_fields)(cost)
            return
        with client.activations.get(model=model, inputs=texts, sites=sites, to=to, **options) as cache:
            _print_cache(cache, as_json=as_json)


def trajectories(
    context: typer.Context,
    model: ModelArgument,
    inputs: InputsArgument,
    sites: SitesOption,
    layers: LayersOption = "all",
    reduce: ReduceOption = None,
    dtype: DTypeOption = "float32",
    prompt_ref: PromptRefOption = None,
    mix: MixOption = None,
    concat: ConcatOption = None,
    max_tokens: MaxTokensOption = None,
    temperature: TemperatureOption = None,
    n: Annotated[int | None, typer.Option("--n", "-n", help="Number of trajectories for each input.")] = None,
    seed: SeedOption = None,
    include_input: Annotated[bool, typer.Option(help="Include the tokens of the input.")] = True,
    to: Annotated[Path, typer.Option("--to", "-o", help="File to write.")] = Path("trajectories.safetensors"),
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Generate, and save the activations of every token to a safetensors file."""
    options = parsing.given(max_tokens=max_tokens, temperature=temperature, n=n, seed=seed)
    options |= {
        "include_input": include_input,
        **_capture_options(layers, reduce, dtype, parsing.prompt_choice(prompt_ref, mix, concat)),
    }
    texts = parsing.texts(inputs)
    with (
        client_for(context, url, api_key) as client,
        client.trajectories.create(model=model, inputs=texts, sites=sites, to=to, **options) as result,
    ):
        if not as_json:
            rows = [
                (index, one.n_input, one.n_generated, one.finish_reason, one.text) for index, one in enumerate(result)
            ]
            print_table(("#", "n_input", "n_generated", "finish", "text"), rows)
        _print_cache(result, as_json=as_json)


def _capture_options(layers: str, reduce: str | None, dtype: DType, prompt: dict[str, Any]) -> dict[str, Any]:
    options = {"layers": parsing.layers(layers), "dtype": dtype, **prompt}
    return options if reduce is None else {**options, "reduce": parsing.reduction(reduce)}


def _print_cache(cache: ActivationCache, *, as_json: bool) -> None:
    names = cache.keys()
    shapes = {name: list(cache.shape(name)) for name in names}
    if as_json:
        metadata = cache.metadata.model_dump(mode="json")
        print_json({"path": str(cache.path), "n_inputs": cache.n_inputs, "tensors": shapes, "metadata": metadata})
        return
    print_table(("tensor", "shape"), shapes.items())
    typer.echo(f"{cache.path}: {cache.path.stat().st_size} bytes, {cache.n_rows} rows of {cache.n_inputs} inputs")


def register(app: typer.Typer) -> None:
    """Adds the commands to the application."""
    activations_lines = (
        'promptatlas activations demo "Ana is in the kitchen." -s resid_post -l 2,5 -o states.safetensors',
        'promptatlas activations demo "Ana" "Ben" -s resid_post -l -1 --positions last -p qa@2',
        'promptatlas activations demo "Ana" -s attn_probs --estimate --json',
    )
    trajectories_lines = (
        'promptatlas trajectories demo "Ana is in the" -s resid_post -l 3 --max-tokens 8',
        'promptatlas trajectories demo "2+2=" -s resid_post -n 4 --seed 0 -o trajectories.safetensors',
    )
    app.command("activations", epilog=examples(*activations_lines))(activations)
    app.command("trajectories", epilog=examples(*trajectories_lines))(trajectories)
