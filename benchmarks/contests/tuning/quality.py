"""Quality of tuned prompts at equal steps: the trainer and PEFT on a task of the demo model, over several draws."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from benchmarks.measuring.contest import Contest, Goal, Metrics, Round, Side
from benchmarks.measuring.tuned import begun_alike
from benchmarks.sides.tuning import IGNORED, Tuned, TuningTask, padded, tune_fused, tune_with_peft
from benchmarks.sides.workload import soft_prompts
from demo.datasets import FOLDER
from service.engine.model.hosted_model import HostedModel
from service.store.artifacts.store import ArtifactStore
from service.store.datasets.store import DatasetStore
from workers.analysis.intervals import mean_interval
from workers.inputs.examples import EncodedExample, encode

ENGINE, PEFT = "engine", "PEFT"
MODEL = Path(__file__).resolve().parents[3] / "demo" / "model"
SAMPLES, N_A_FORWARD, N_COMPARED = 10_000, 50, 5


@dataclass(frozen=True, kw_only=True)
class Size:
    """Soft prompts from ``n_seeds`` draws on one of the demo's datasets."""

    dataset: str = "demo-arithmetic"
    n_seeds: int = 10
    n_virtual: int = 10
    n_train: int | None = None
    n_validation: int | None = None
    n_steps: int = 150
    lr: float = 1e-2


FULL = Size()
QUICK = Size(n_seeds=3, n_train=60, n_validation=40, n_steps=8)


@contextlib.contextmanager
def open_contest(size: Size, *, http: bool) -> Iterator[Contest]:
    """Both sides; ``http`` has no effect."""
    hosted = HostedModel.load("demo", str(MODEL), device="cpu", dtype="float32")
    bare = _bare()
    train = examples_of(hosted, size, split="train", n=size.n_train)
    validation = examples_of(hosted, size, split="validation", n=size.n_validation)
    draws = soft_prompts(size.n_seeds, n_virtual=size.n_virtual, d_model=hosted.d_model, seed=5)
    task = TuningTask(examples=train, starts=[{"soft": d} for d in draws], n_steps=size.n_steps, lr=size.lr)
    judge = _bare()

    quality = partial(losses_of, judge, validation)
    start = plain_loss(judge, draws[0], validation)
    yield Contest(
        name="tuning-quality",
        work=(
            f"{size.n_seeds} soft prompts of {size.n_virtual} vectors for {size.dataset}, {size.n_steps} steps of 8 "
            f"examples at rate {size.lr}, on the demo model; loss on {len(validation)} held-out examples."
        ),
        sides=[
            Side(name=ENGINE, run=lambda: tune_fused(hosted, task), metrics=quality),
            Side(name=PEFT, run=lambda: tune_with_peft(bare, task), metrics=quality),
        ],
        goals=quality_goals(ENGINE, PEFT, n_draws=size.n_seeds),
        compare=lambda answers: begun_alike("engine against PEFT", answers[ENGINE], answers[PEFT], n_steps=N_COMPARED),
        notes=[
            f"Losses are measured by plain transformers; the first draw's before tuning is {start:.3g} nats a token."
        ],
    )


def examples_of(hosted: HostedModel, size: Size, *, split: Any, n: int | None) -> list[EncodedExample]:
    """Examples of the dataset as token ids."""
    with TemporaryDirectory() as folder:
        datasets = DatasetStore(ArtifactStore(folder), builtin=FOLDER)
        encoded, _ = encode(hosted, datasets.examples(size.dataset, split=split, n=n), max_tokens=256)
    return encoded


def losses_of(judge: Any, examples: Sequence[EncodedExample], tuned: Tuned) -> Metrics:
    """The loss of each tuned soft prompt and their mean."""
    losses = [plain_loss(judge, tensors["soft"], examples) for tensors in tuned.tensors]
    return {"mean loss": sum(losses) / len(losses), **{of_draw(i): loss for i, loss in enumerate(losses)}}


@torch.inference_mode()
def plain_loss(module: Any, vectors: Tensor, examples: Sequence[EncodedExample]) -> float:
    """Mean nats per answer token under a soft prompt, by the forward of transformers on ``inputs_embeds``."""
    total, n_answers = 0.0, 0
    for begin in range(0, len(examples), N_A_FORWARD):
        rows = padded(examples[begin : begin + N_A_FORWARD])
        text = module.get_input_embeddings()(rows["input_ids"])
        logits = module(inputs_embeds=torch.cat([vectors.expand(len(text), *vectors.shape), text], dim=1)).logits
        labels = rows["labels"][:, 1:]
        answers = logits[:, len(vectors) : -1].flatten(0, 1)
        total += float(
            torch.nn.functional.cross_entropy(answers, labels.flatten(), ignore_index=IGNORED, reduction="sum")
        )
        n_answers += int((labels != IGNORED).sum())
    return total / n_answers


def _bare() -> Any:
    return AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32).eval().requires_grad_(False)


def of_draw(i: int) -> str:
    """The metric of one draw."""
    return f"loss of draw {i}"


def quality_goals(side: str, reference: str, *, n_draws: int) -> list[Goal]:
    """Not worse: the interval of the difference includes 0 or less, and its upper end is small."""

    def interval(turn: Round) -> tuple[float, float]:
        apart = [turn[side][of_draw(i)] - turn[reference][of_draw(i)] for i in range(n_draws)]
        return mean_interval(apart, samples=SAMPLES, seed=0)

    label = f"validation loss, {side} − {reference}, 95 % interval over {n_draws} draws"
    return [
        Goal(label=f"{label}: lower end", value=lambda turn: interval(turn)[0], at_most=0.0, unit="nats"),
        Goal(label=f"{label}: upper end", value=lambda turn: interval(turn)[1], at_most=0.02, unit="nats"),
    ]
