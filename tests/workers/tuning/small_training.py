"""Small trainings: random models, random examples, draws of every form."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from promptatlas.types.forms import Where
from torch import Tensor

from service.engine.model.hosted_model import HostedModel
from service.engine.prompts.prompt import Kind, Prompt
from tests.oracle.models import N_VOCAB, build_model, build_tokenizer
from workers.inputs.examples import EncodedExample
from workers.tuning.training.settings import Member, TuneSettings
from workers.tuning.training.trainer import Trainer

N_VIRTUAL = 5
MAX_BYTES = 1 << 30


@dataclass(frozen=True)
class Form:
    """A form of prompt that can be tuned."""

    kind: Kind
    where: Where | None = None
    layers: tuple[int, ...] = ()
    d_reparametrised: int | None = None

    def draw(self, model: HostedModel, *, seed: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        if self.kind == "prefix":
            shape = model.kv_shape.layers[0]
            size = (model.architecture.n_layers, 2, shape.n_kv_heads, N_VIRTUAL, shape.d_key)
            return {"prefix": torch.randn(size, generator=generator)}
        if self.kind == "steering":
            vectors = torch.randn(len(self.layers), model.d_model, generator=generator)
            return {f"steering.{layer}": vector for layer, vector in zip(self.layers, vectors, strict=True)}
        names = ["soft"] if self.kind == "soft" else [f"deep.{layer}" for layer in self.layers]
        return {name: torch.randn(N_VIRTUAL, model.d_model, generator=generator) for name in names}

    def prompt(self, tensors: Mapping[str, Tensor]) -> Prompt:
        return Prompt(self.kind, tensors, self.where)


FORMS: Mapping[str, Form] = {
    "soft": Form("soft"),
    "deep-local": Form("deep", "local", (1, 2)),
    "deep-local-with-embeddings": Form("deep", "local", (0, 2)),
    "deep-carried": Form("deep", "carried", (1,)),
    "deep-carried-from-embeddings": Form("deep", "carried", (0, 1)),
    "prefix": Form("prefix"),
    "prefix-reparametrised": Form("prefix", d_reparametrised=11),
    "steering": Form("steering", layers=(0, 2)),
    "steering-above": Form("steering", layers=(1,)),
    "steering-last": Form("steering", layers=(2,)),
}


@cache
def hosted(architecture: str = "llama") -> HostedModel:
    return HostedModel(architecture, build_model(architecture), build_tokenizer(), revision="random")


def examples(n: int, *, seed: int, longest_input: int = 13, longest_target: int = 4) -> list[EncodedExample]:
    draw = random.Random(seed)

    def ids(longest: int) -> tuple[int, ...]:
        return tuple(draw.randrange(2, N_VOCAB) for _ in range(draw.randint(1, longest)))

    return [EncodedExample(ids(longest_input), ids(longest_target)) for _ in range(n)]


TRAIN, VALIDATION = examples(23, seed=1), examples(9, seed=2)


def members(
    form: Form, *, rates: Sequence[float] = (3e-3, 1e-2, 2e-2), model: HostedModel | None = None
) -> list[Member]:
    return [
        Member(name=f"m{i}", lr=rate, start=form.draw(model or hosted(), seed=i), seed=i)
        for i, rate in enumerate(rates)
    ]


def settings(form: Form, **changes: Any) -> TuneSettings:
    chosen: dict[str, Any] = {
        "steps": 50,
        "batch_size": 3,
        "eval_every": 1000,
        "keep": "last",
        "warmup": 0.1,
        **changes,
    }
    return TuneSettings(kind=form.kind, where=form.where, d_reparametrised=form.d_reparametrised, **chosen)


def trainer(
    team: Sequence[Member],
    chosen: TuneSettings,
    *,
    validation: Sequence[EncodedExample] = (),
    max_bytes: int = MAX_BYTES,
) -> Trainer:
    return Trainer(hosted(), members=team, train=TRAIN, validation=validation, settings=chosen, max_bytes=max_bytes)


def run(trained: Trainer, *, until: int | None = None) -> Trainer:
    while not trained.finished and trained.step_number != until:
        trained.step()
    return trained


def assert_close(got: Mapping[str, Tensor], expected: Mapping[str, Tensor], *, within: float = 1e-5) -> None:
    assert got.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(got[name], expected[name], atol=within, rtol=0, msg=partial("{}: {}".format, name))


def are_equal(got: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> bool:
    """Bit for bit."""
    return got.keys() == expected.keys() and all(torch.equal(got[name], expected[name]) for name in expected)
