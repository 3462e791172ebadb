"""``promptatlas priors``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import safetensors.numpy
import typer

from promptatlas.cli.connection import client_for
from promptatlas.cli.options import ApiKey, AsJson, ModelArgument, Url, examples
from promptatlas.cli.output import print_json
from promptatlas.cli.spec_files import parsed, read_spec


def sample(
    context: typer.Context,
    model: ModelArgument,
    prior: Annotated[str, typer.Argument(help="A kind of prior, a JSON object, or a YAML or JSON file.")],
    n: Annotated[int, typer.Option("--n", "-n", help="Number of vectors.")] = 20,
    seed: Annotated[int, typer.Option("--seed", help="The same seed gives the same vectors.")] = 0,
    layer: Annotated[
        int | None, typer.Option("--layer", "-l", help="Layer whose input they are for; default: the embeddings.")
    ] = None,
    to: Annotated[Path, typer.Option("--to", "-o", help="File to write.")] = Path("draw.safetensors"),
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Sample vectors from a prior, to inspect it before tuning."""
    spec = _prior(prior)
    with client_for(context, url, api_key) as client:
        run = client.priors.sample(model=model, prior=spec, n=n, seed=seed, layer=layer)
        vectors = run.vectors()
    to.write_bytes(safetensors.numpy.save({"vectors": vectors}))
    norms = np.linalg.norm(vectors, axis=1)
    if as_json:
        about = {"run": run.id, "path": str(to), "shape": list(vectors.shape), "metrics": run.outcome}
        print_json({**about, "mean_norm": float(norms.mean()), "std": float(vectors.std())})
    else:
        shape = " × ".join(map(str, vectors.shape))
        typer.echo(f"{to}: {shape} values, standard deviation {vectors.std():.4g}, mean norm {norms.mean():.4g}")


def _prior(text: str) -> dict[str, object]:
    if text.lstrip().startswith("{"):
        value = parsed(text, "prior")
        return dict(value)
    is_file = text == "-" or text.endswith((".json", ".yaml", ".yml"))
    return read_spec(text) if is_file else {"kind": text}


def commands() -> typer.Typer:
    """The group ``priors``."""
    group = typer.Typer(no_args_is_help=True, help="Priors: distributions that prompts are initialised from.")
    lines = (
        "promptatlas priors sample demo vocabulary -n 8",
        """promptatlas priors sample demo '{"kind": "gaussian", "fit": {"embeddings": "vocabulary"}}' --seed 3""",
        """promptatlas priors sample demo '{"kind": "isotropic", "std": 0.1}' --layer -1 -o draw.safetensors""",
    )
    group.command("sample", epilog=examples(*lines))(sample)

    @group.callback()
    def group_of_one() -> None:
        """Priors: distributions that prompts are initialised from."""

    return group
