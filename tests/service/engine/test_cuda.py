"""The engine on a GPU: prompts of every kind in one batch, against plain transformers. Skipped without a GPU."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from service.engine.engine import Engine
from service.engine.inputs import PromptChoice
from service.engine.model.hosted_model import HostedModel
from service.engine.prompts.prompt import Prompt, from_tensors
from service.engine.requests import Capture, CaptureSpec, Delta, Done, Event, Generate, Limits, Sampling
from tests.oracle.models import build_model

pytestmark = [pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]

TEXTS = ((9, 33, 60, 2), (8, 77, 90, 4, 41, 3, 12, 66, 5), (31, 7, 7))


def soft(seed: str) -> Prompt:
    generator = torch.Generator().manual_seed(int(seed))
    return from_tensors({"soft": torch.randn(5, 56, generator=generator)})


def served(dtype: torch.dtype) -> tuple[Any, Engine]:
    plain = build_model("llama").to("cuda", dtype)
    model = HostedModel("m", copy.deepcopy(plain), None, revision="")
    return plain, Engine(model, limits=Limits(max_step_tokens=8), load_prompt=soft)


def finish(engine: Engine) -> list[Event]:
    events: list[Event] = []
    while engine.has_work:
        events += engine.step()
    return events


def test_mixed_rows_on_a_gpu_are_plain_rows() -> None:
    plain, engine = served(torch.float32)
    for i, ids in enumerate(TEXTS):
        choice = PromptChoice(parts=((str(i), 1.0),)) if i else None
        engine.submit(
            Generate(request_id=str(i), inputs=(ids,), max_tokens=6, sampling=Sampling(temperature=0), prompt=choice)
        )
    tokens = {e.request_id: e.token_ids for e in finish(engine) if isinstance(e, Delta)}
    for i, ids in enumerate(TEXTS):
        known = list(ids)
        for token in tokens[str(i)]:
            vectors = plain.get_input_embeddings()(torch.tensor(known, device="cuda"))
            if i:
                vectors = torch.cat([soft(str(i)).tensors["soft"].cuda(), vectors])
            assert int(plain(inputs_embeds=vectors[None], use_cache=False).logits[0, -1].argmax()) == token
            known.append(token)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 0.1)])
def test_states_on_a_gpu_are_returned_on_the_cpu_and_are_correct(dtype: torch.dtype, tolerance: float) -> None:
    plain, engine = served(dtype)
    engine.submit(Capture(request_id="c", inputs=TEXTS, capture=CaptureSpec(sites=("resid_post",), layers=(0, 1))))
    done = next(e for e in finish(engine) if isinstance(e, Done))
    assert done.result is not None
    offsets = done.result.tensors["row_offsets"].tolist()
    for i, ids in enumerate(TEXTS):
        states = plain(torch.tensor([ids], device="cuda"), output_hidden_states=True).hidden_states
        for layer in (0, 1):
            rows = done.result.tensors[f"resid_post.{layer}"][offsets[i] : offsets[i + 1]]
            torch.testing.assert_close(rows, states[layer + 1][0].float().cpu(), atol=tolerance, rtol=tolerance)
