"""What a step sends to its device: neither waits, nor copies, nor launches grow with the number of rows."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from service.engine.engine import Engine
from service.engine.inputs import PromptChoice
from service.engine.model.hosted_model import HostedModel
from service.engine.prompts.prompt import Prompt, from_tensors
from service.engine.requests import Generate, Limits, Sampling
from tests.oracle.models import build_model
from tests.service.engine.scheduling.device_counts import Counts, counting, on_meta

INPUT = (9, 33, 60, 2, 77, 41)
N_PROMPTS = 3
SAMPLINGS = {
    "greedy": Sampling(temperature=0),
    "drawn": Sampling(seed=1),
    "filtered": Sampling(seed=1, top_k=5, top_p=0.9, min_p=0.01),
    "penalties": Sampling(seed=1, repetition_penalty=1.2, presence_penalty=0.5, logit_bias={3: 1.0}),
}


@pytest.fixture(scope="module")
def model() -> HostedModel:
    return on_meta(HostedModel("m", build_model("gemma2"), None, revision="", packed_bytes=0))


def load(sha256: str) -> Prompt:
    return from_tensors({"soft": torch.randn(3, 52)})


def steps(model: HostedModel, n_rows: int, **more: Any) -> Iterator[Counts]:
    """Counts of the step that reads all inputs, and of the steps that follow."""
    engine = Engine(model, limits=Limits(), load_prompt=load)
    for row in range(n_rows):
        choice = PromptChoice(parts=((str(row % N_PROMPTS), 1.0),))
        ids = INPUT[: 5 + row % 2]
        engine.submit(Generate(request_id=str(row), inputs=(ids,), max_tokens=4, prompt=choice, **more))
    for _ in range(3):
        with counting() as counts:
            engine.step()
        yield copy.copy(counts)


@pytest.mark.parametrize("logprobs", [None, 5])
@pytest.mark.parametrize("name", SAMPLINGS)
def test_a_step_waits_once_and_its_counts_do_not_grow(model: HostedModel, name: str, logprobs: int | None) -> None:
    few, many = (list(steps(model, n, sampling=SAMPLINGS[name], logprobs=logprobs)) for n in (4, 24))
    for step, (of_few, of_many) in enumerate(zip(few, many, strict=True)):
        assert of_many.waits == ["copy to the host"], "the chosen tokens, with their log-probabilities"
        is_sampled = name != "greedy"
        # The tokens' indices, and the parameters of the rows; before the first step, the slots of the prompts as well.
        assert of_many.uploads <= 1 + is_sampled + (step == 0)
        assert of_many.kernels == of_few.kernels
        assert of_many.kernels > 0


def test_rows_of_several_top_k_share_launches(model: HostedModel) -> None:
    """Rows are filtered by the power of two above their top_k."""
    few = list(steps(model, 8, sampling=Sampling(seed=1, top_k=5)))
    for counts in few:
        assert counts.waits == ["copy to the host"]


@pytest.mark.parametrize(
    ("name", "run"),
    [
        ("item", lambda x: x[0].item()),
        ("bool", lambda x: bool((x > 0).all())),
        ("list", lambda x: x.tolist()),
        ("mask", lambda x: x[x > 0]),
        ("nonzero", lambda x: x.nonzero()),
        ("copy", lambda x: x.cpu()),
    ],
)
def test_what_waits_for_a_device_is_counted(name: str, run: Any) -> None:
    x = torch.zeros(3, device="meta")
    with counting() as counts, torch.inference_mode():
        run(x)
    assert len(counts.waits) == 1, name


def test_copies_to_a_device_and_launches_are_counted() -> None:
    x = torch.zeros(3, device="meta")
    with counting() as counts, torch.inference_mode():
        y = x + torch.zeros(3).to("meta")
        y[:2].view(-1)
        torch.tensor([1, 2], device="meta")
    assert (counts.uploads, counts.kernels, counts.waits) == (2, 1, [])
