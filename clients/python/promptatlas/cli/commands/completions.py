"""``promptatlas complete``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from promptatlas.cli import parsing
from promptatlas.cli.connection import client_for
from promptatlas.cli.options import (
    ApiKey,
    AsJson,
    ConcatOption,
    MaxTokensOption,
    MixOption,
    ModelArgument,
    PromptRefOption,
    SeedOption,
    TemperatureOption,
    Url,
    examples,
)
from promptatlas.cli.output import print_json
from promptatlas.client import Client


def complete(
    context: typer.Context,
    model: ModelArgument,
    text: Annotated[str, typer.Argument(help="Text to complete; - is standard input.")],
    prompt_ref: PromptRefOption = None,
    mix: MixOption = None,
    concat: ConcatOption = None,
    max_tokens: MaxTokensOption = None,
    temperature: TemperatureOption = None,
    top_p: Annotated[float | None, typer.Option("--top-p")] = None,
    top_k: Annotated[int | None, typer.Option("--top-k")] = None,
    n: Annotated[int | None, typer.Option("--n", "-n", help="Number of completions.")] = None,
    seed: SeedOption = None,
    stop: Annotated[list[str] | None, typer.Option("--stop", help="Stop before this text; repeatable.")] = None,
    stream: Annotated[bool, typer.Option("--stream", help="Print pieces as they are generated.")] = False,
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Complete a text, optionally with a tuned prompt."""
    options = parsing.given(
        max_tokens=max_tokens, temperature=temperature, top_p=top_p, top_k=top_k, n=n, seed=seed, stop=stop or None
    )
    options |= parsing.prompt_choice(prompt_ref, mix, concat)
    if stream and (as_json or (n or 1) > 1):
        raise typer.BadParameter("--stream prints one completion as text: expected neither --json nor --n with it")
    [prompt] = parsing.texts([text])
    with client_for(context, url, api_key) as client:
        (_print_stream if stream else _print_whole)(client, model, prompt, options, as_json)


def _print_stream(client: Client, model: str, prompt: str, options: dict[str, Any], _as_json: bool) -> None:
    with client.completions.create(model=model, prompt=prompt, stream=True, **options) as pieces:
        for piece in pieces:
            typer.echo("".join(choice.text for choice in piece.choices), nl=False)
    typer.echo()


def _print_whole(client: Client, model: str, prompt: str, options: dict[str, Any], as_json: bool) -> None:
    answer = client.completions.create(model=model, prompt=prompt, **options)
    if as_json:
        print_json(answer)
        return
    for choice in answer.choices:
        typer.echo(choice.text)


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    lines = (
        'promptatlas complete demo "Ana is in the" --max-tokens 8 -t 0',
        'promptatlas complete demo "Where is Ana?" -p qa@2 --stream',
        'promptatlas complete demo "Where is Ana?" --mix qa@1=0.3 --mix qa@2=0.7 --json',
    )
    app.command("complete", epilog=examples(*lines))(complete)
