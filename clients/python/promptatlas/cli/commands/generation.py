"""``promptatlas generate``."""

from __future__ import annotations

import json
from typing import Annotated, Any, get_args

import typer

from promptatlas.cli import parsing
from promptatlas.cli.connection import client_for
from promptatlas.cli.options import (
    ApiKey,
    AsJson,
    ChangesOption,
    MaxTokensOption,
    ModelArgument,
    RunNameOption,
    SeedOption,
    TemperatureOption,
    Url,
    WatchOption,
    examples,
)
from promptatlas.cli.spec_files import with_changes
from promptatlas.cli.watching import start
from promptatlas.types import Keep, Split

_RULES = "whole, last_number, after:MARKER or pattern:REGULAR-EXPRESSION"


def generate(
    context: typer.Context,
    model: ModelArgument,
    dataset: Annotated[str, typer.Argument(help="The dataset with the items, or hub:NAME.")],
    to: Annotated[str, typer.Argument(help="Name of the dataset that results.")],
    n: Annotated[int | None, typer.Option("--n", "-n", min=1, help="Samples for each item.")] = None,
    n_items: Annotated[int | None, typer.Option("--items", min=1, help="Only the first items.")] = None,
    split: Annotated[Split | None, typer.Option("--split", help="Only this split.")] = None,
    prompts: Annotated[
        list[str] | None, typer.Option("--prompt-ref", "-p", help="Tuned prompt, repeatable; none: without a prompt.")
    ] = None,
    teacher: Annotated[str | None, typer.Option("--teacher", help="A teacher of the server's settings.")] = None,
    text: Annotated[str | None, typer.Option("--context", help="Text in front of each item.")] = None,
    shots: Annotated[int | None, typer.Option("--shots", min=1, help="Examples in front of each item.")] = None,
    field: Annotated[
        str | None, typer.Option("--context-field", help="Field of each record that is in front of its item.")
    ] = None,
    temperature: TemperatureOption = None,
    max_tokens: MaxTokensOption = None,
    seed: SeedOption = None,
    logprobs: Annotated[
        int | None, typer.Option("--logprobs", min=0, help="Also keep so many most probable tokens of each token.")
    ] = None,
    answer: Annotated[str | None, typer.Option("--answer", help=f"Where the answer is: {_RULES}.")] = None,
    keep: Annotated[str | None, typer.Option("--keep", help=f"Samples to keep: {', '.join(get_args(Keep))}.")] = None,
    dedupe: Annotated[bool, typer.Option("--dedupe", help="Keep equal samples of an item once.")] = False,
    changes: ChangesOption = None,
    name: RunNameOption = None,
    watched: WatchOption = False,
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Sample from a model for every item of a dataset, and keep the samples as a dataset."""
    options: dict[str, Any] = parsing.given(
        n=n,
        n_items=n_items,
        split=split,
        prompt_refs=prompts or None,
        teacher=teacher,
        context=_context(text, shots=shots, field=field),
        temperature=temperature,
        max_tokens=max_tokens,
        seed=seed,
        logprobs=logprobs,
        answer=None if answer is None else _rule(answer),
        keep=keep,
        dedupe=dedupe or None,
    )
    spec = with_changes({"model": model, "dataset": dataset, "name": to, **options}, changes or [])
    with client_for(context, url, api_key) as client:
        run = client.runs.create("generate", spec, name=name)
        start(run, watched=watched, as_json=as_json)


def _context(text: str | None, *, shots: int | None, field: str | None) -> Any:
    """The context of ``--context``, ``--shots`` or ``--context-field``; None without these."""
    contexts = {
        "--context": text,
        "--shots": None if shots is None else {"shots": shots},
        "--context-field": None if field is None else {"field": field},
    }
    chosen = {option: value for option, value in contexts.items() if value is not None}
    if len(chosen) > 1:
        raise typer.BadParameter(f"expected one of {', '.join(contexts)}, got {' and '.join(chosen)}")
    return next(iter(chosen.values()), None)


def _rule(text: str) -> Any:
    """The rule of ``--answer``."""
    find, colon, value = text.partition(":")
    if find in ("after", "pattern") and colon and value:
        return {"find": find, find: value}
    if text == "last_number":
        return {"find": text}
    if text == "whole":
        return text
    raise typer.BadParameter(f"--answer: expected {_RULES}, got {json.dumps(text, ensure_ascii=False)}")


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    lines = (
        "promptatlas generate demo demo-arithmetic-cot sums -n 4 --answer last_number --keep correct --watch",
        "promptatlas generate demo demo-qa answers -p qa@2 -t 0 --logprobs 16 --split train",
        "promptatlas generate big-model hub:gsm8k chains --teacher outside --answer after:#### --set 'context=[]'",
    )
    app.command("generate", epilog=examples(*lines))(generate)
