"""Tune prompts of any Hugging Face model on your own files under priors of your choice, and report the results.

    python examples/tune_any_model.py --model path/to/model --data squad=train-v1.1.json --prior isotropic --prior fitted

A service is started for it, unless PROMPTATLAS_URL names one; then --model is the name of a model that it hosts.
"""

import argparse
import contextlib
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from promptatlas import Client, PromptAtlasError
from promptatlas.types import DatasetFormat
from rich.console import Console

from demo.tour.clouds import Clouds
from demo.tour.jobs import Job, Spec, fitted_to
from demo.tour.outcomes import Outcome, read_outcome
from demo.tour.progress import follow
from demo.tour.report.tables import LEGEND, as_json, markdown, rich_table, title
from demo.tour.server import ServiceDidNotStart, running_service

HOSTED: Final = "model"
"""Name of the model in a service started by this script."""
READY_WITHIN_S: Final = 3600.0
"""A hub model may have to be downloaded first."""
N_TEXTS: Final = 64
METRICS: Final[Mapping[str, str]] = {
    "squad": "f1",
    "gsm8k": "numeric_match",
    "deepmind-math": "exact_match",
    "jsonl": "exact_match",
}
PRIORS: Final = ("isotropic", "xavier", "vocabulary", "fitted", "wide", "exclusion", "knn", "vae")


@dataclass(frozen=True, kw_only=True)
class Data:
    """A file to tune on, or an existing dataset of the service (without a path)."""

    name: str
    metric: str
    format: DatasetFormat = "jsonl"
    path: Path | None = None


def data_of(text: str) -> Data:
    """Parse FORMAT=PATH, FORMAT:NAME=PATH, or the name of an existing dataset.

    Raises:
        argparse.ArgumentTypeError: the format is unknown, or there is no such file.
    """
    kind, equals, place = text.partition("=")
    if not equals:
        return Data(name=text, metric="exact_match")
    form, _, name = kind.partition(":")
    path = Path(place)
    if form not in METRICS:
        raise argparse.ArgumentTypeError(f"expected one of {', '.join(METRICS)} before '=', got {form!r}")
    if not path.exists():
        raise argparse.ArgumentTypeError(f"there is no file {place}")
    slug = re.sub(r"[^a-z0-9._-]+", "-", path.stem.lower()).strip("-._") or "data"
    return Data(name=name or slug, metric=METRICS[form], format=cast(DatasetFormat, form), path=path)


def prior_of(text: str, *, dataset: str, n_texts: int) -> tuple[str, Spec]:
    """Parse a prior given by short name or as JSON; returns it with its label.

    Raises:
        ValueError: it is neither.
    """
    fitted = fitted_to(dataset, n_texts=n_texts)
    specs: Mapping[str, Spec] = {
        "isotropic": {"kind": "isotropic", "std": 0.02},
        "xavier": {"kind": "xavier"},
        "vocabulary": {"kind": "vocabulary"},
        "fitted": fitted,
        "wide": fitted_to(dataset, n_texts=n_texts, scale=25.0),
        **{kind: {"kind": kind, "fit": fitted["fit"]} for kind in ("exclusion", "knn", "vae")},
    }
    if text in specs:
        return text, specs[text]
    try:
        spec = json.loads(text)
    except ValueError:
        raise ValueError(f"expected a prior as JSON or one of {', '.join(PRIORS)}, got {text!r}") from None
    return str(text), spec


def job_of(data: Data, *, chosen: argparse.Namespace) -> Job:
    """Spec of the run for one dataset."""
    method: dict[str, Any] = {"kind": chosen.method, "n_virtual": chosen.n_virtual}
    if chosen.method == "deep":
        method |= {"layers": chosen.layers, "where": "local"}
    rates = chosen.lr
    return Job(
        title=f"{data.name}, {chosen.method}",
        name=f"{data.name[:24]}-{chosen.method}",
        dataset=data.name,
        method=method,
        priors=dict(prior_of(text, dataset=data.name, n_texts=chosen.fit_texts) for text in chosen.prior),
        seeds=tuple(chosen.seeds),
        optimizer={"lr": rates if len(rates) > 1 else rates[0], "steps": chosen.steps, "batch_size": chosen.batch_size},
        eval={"every": max(1, chosen.steps // 20), "n": chosen.asked, "max_tokens": chosen.max_tokens},
        metric=data.metric,
    )


@contextlib.contextmanager
def service_of(chosen: argparse.Namespace, *, environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """URL of a service, and the name of the model there."""
    if environ.get("PROMPTATLAS_URL"):
        yield environ["PROMPTATLAS_URL"], chosen.model
        return
    settings = {
        "PROMPTATLAS_MODELS": f"{HOSTED}={chosen.model}",
        "PROMPTATLAS_HOME": str(chosen.output / "store"),
        "PROMPTATLAS_DEVICE": chosen.device,
    }
    with running_service(settings, log=chosen.output / "service.log", ready_within_s=READY_WITHIN_S) as url:
        yield url, HOSTED


def upload(client: Client, data: Data) -> None:
    """Upload a file as a dataset; files of a folder are concatenated."""
    if data.path is None:
        return
    if data.path.is_file():
        client.datasets.upload(data.name, path=data.path, format=data.format)
        return
    with tempfile.TemporaryDirectory() as name:
        joined = Path(name) / "joined"
        files = sorted(path for path in data.path.rglob("*") if path.is_file())
        joined.write_text("".join(f"{path.read_text(encoding='utf-8').rstrip()}\n" for path in files), encoding="utf-8")
        client.datasets.upload(data.name, path=joined, format=data.format)


def tune(
    client: Client, *, model: str, data: Sequence[Data], chosen: argparse.Namespace, console: Console
) -> list[Outcome]:
    """Tune on all datasets, one run each."""
    card = client.models.get(model)
    for one in data:
        upload(client, one)
    jobs = [job_of(one, chosen=chosen) for one in data]
    runs = [job.start(client, model=model) for job in jobs]
    follow(runs, console=console)
    outcomes = []
    for run, job in zip(runs, jobs, strict=True):
        items = client.datasets.peek(job.dataset, split="train", limit=N_TEXTS).data
        texts = fitting([item.input or item.text or "" for item in items], n_tokens=card.n_positions)
        clouds = Clouds(client, card=card, texts=texts)
        outcomes.append(read_outcome(client, run, job=job, clouds=clouds))
    return outcomes


def fitting(texts: Sequence[str], *, n_tokens: int) -> list[str]:
    """Truncate texts so that they fit the context, assuming at least one byte per token."""
    return [text.encode()[: n_tokens - 1].decode(errors="ignore") for text in texts if text]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument(
        "--model", required=True, help="folder or hub id; with PROMPTATLAS_URL, name of the model in that service"
    )
    made.add_argument(
        "--data",
        required=True,
        action="append",
        type=data_of,
        help=f"FORMAT=PATH ({', '.join(METRICS)}), FORMAT:NAME=PATH, or a dataset of the service; may be repeated",
    )
    made.add_argument(
        "--prior", required=True, action="append", help=f"{', '.join(PRIORS)}, or a spec as JSON; may be repeated"
    )
    made.add_argument("--method", choices=("soft", "deep", "prefix"), default="soft")
    made.add_argument("--layers", type=int, nargs="+", default=[-3, -2, -1], help="layers of deep prompts")
    made.add_argument("--n-virtual", type=int, default=20)
    made.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    made.add_argument(
        "--lr", type=float, nargs="+", default=[1e-3], help="learning rates; several are tuned in one run"
    )
    made.add_argument("--steps", type=int, default=1000)
    made.add_argument("--batch-size", type=int, default=16)
    made.add_argument("--asked", type=int, default=100, help="held-out examples per prompt")
    made.add_argument("--max-tokens", type=int, help="limit for an answer; default: the longest target")
    made.add_argument("--fit-texts", type=int, default=512, help="texts to fit priors to")
    made.add_argument("--device", default="auto", help="device of a service started by this script")
    made.add_argument("--output", type=Path, default=Path("tuned-output"))
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script; returns the exit status."""
    chosen = parser().parse_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else 140)
    chosen.output.mkdir(parents=True, exist_ok=True)
    try:
        with service_of(chosen, environ=os.environ) as (url, model), Client(url, progress=False) as client:
            outcomes = tune(client, model=model, data=chosen.data, chosen=chosen, console=console)
    except (ServiceDidNotStart, PromptAtlasError, ValueError) as error:
        print(f"tune_any_model: {error}", file=sys.stderr)
        return 1
    for outcome in outcomes:
        console.print(f"\n  {title(outcome)}", highlight=False, markup=False)
        console.print(rich_table(outcome))
    console.print(f"\n{LEGEND.replace('*', '')}", highlight=False)
    (chosen.output / "report.md").write_text(markdown(outcomes), encoding="utf-8")
    (chosen.output / "report.json").write_text(as_json(outcomes, model=chosen.model), encoding="utf-8")
    console.print(f"\nreport.md and report.json are in {chosen.output}", highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
