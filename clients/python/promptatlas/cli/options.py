"""Arguments and options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

from promptatlas.types import DType

Url = Annotated[str | None, typer.Option("--url", help="Server; default: PROMPTATLAS_URL, or http://127.0.0.1:8000.")]
ApiKey = Annotated[str | None, typer.Option("--api-key", help="Key; default: PROMPTATLAS_API_KEY.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]

ModelArgument = Annotated[str, typer.Argument(help="A model, as listed by `promptatlas models list`.")]
RunArgument = Annotated[str, typer.Argument(help="Id of the run.")]
PromptRefOption = Annotated[
    str | None, typer.Option("--prompt-ref", "-p", help="Tuned prompt: name, name@3, name@alias or sha256:…")
]
MixOption = Annotated[list[str] | None, typer.Option("--mix", help="REF=WEIGHT, repeatable: a mix of prompts.")]
ConcatOption = Annotated[
    list[str] | None, typer.Option("--concat", help="REF, repeatable: prompts of one kind, one after the other.")
]

SpecArgument = Annotated[
    str | None, typer.Argument(help="YAML or JSON file with the spec; - is standard input. Options add to it.")
]
ChangesOption = Annotated[
    list[str] | None, typer.Option("--set", help="path.to.field=value, repeatable; values are JSON or text.")
]
ModelOption = Annotated[str | None, typer.Option("--model", "-m", help="The model.")]
RunNameOption = Annotated[str | None, typer.Option("--name", help="Name of the run.")]
RunsOption = Annotated[
    str, typer.Option("--runs", help="Number of runs that the members are divided over; workers: as many as there are.")
]
WatchOption = Annotated[bool, typer.Option("--watch", "-w", help="Wait for the run to finish.")]

LayersOption = Annotated[
    str, typer.Option("--layers", "-l", help="all, or indices as in 2,5 (negative: from the end).")
]
DTypeOption = Annotated[DType, typer.Option("--dtype", help="Type of the tensors.")]
ReduceOption = Annotated[str | None, typer.Option("--reduce", help="mean, norm, project:MAP, lens:K or nearest:K.")]
SeedOption = Annotated[int | None, typer.Option("--seed", help="The same seed gives the same tokens.")]
MaxTokensOption = Annotated[int | None, typer.Option("--max-tokens", help="Maximum number of generated tokens.")]
TemperatureOption = Annotated[float | None, typer.Option("--temperature", "-t", help="0 is greedy.")]


def examples(*lines: str) -> str:
    """The epilog of a command's help. Blank lines keep the examples on separate lines."""
    return "\n\n".join(("Examples:", *lines))
