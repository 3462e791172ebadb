"""An engine on a small Llama, and helpers that create its requests and read its events."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from service.engine.engine import Engine
from service.engine.model.hosted_model import HostedModel
from service.engine.prompts.prompt import Prompt, from_tensors
from service.engine.requests import (
    Capture,
    CaptureSpec,
    Delta,
    Done,
    Event,
    Generate,
    Limits,
    Sampling,
    Tensors,
)
from service.errors import NotFound

GREEDY = Sampling(temperature=0)
TEXT = (9, 33, 60, 2, 77, 41, 5)


def load(sha256: str) -> Prompt:
    if sha256 == "missing":
        raise NotFound("no such prompt")
    seed = sum(map(ord, sha256))
    return from_tensors({"soft": torch.randn(3, 56, generator=torch.Generator().manual_seed(seed))})


def with_limits(model: HostedModel, **limits: Any) -> Engine:
    return Engine(model, limits=Limits(**limits), load_prompt=load)


def generate(request_id: str = "g", **more: Any) -> Generate:
    return Generate(**{"request_id": request_id, "inputs": (TEXT,), "max_tokens": 5, "sampling": GREEDY, **more})


def capture(request_id: str = "c", **more: Any) -> Capture:
    spec = {key: more.pop(key) for key in list(more) if key in CaptureSpec.__dataclass_fields__}
    return Capture(
        **{
            "request_id": request_id,
            "inputs": (TEXT,),
            "capture": CaptureSpec(**{"sites": ("resid_post",), "layers": (1,), **spec}),
            **more,
        }
    )


def finish(engine: Engine) -> list[Event]:
    events: list[Event] = []
    while engine.has_work:
        events += engine.step()
    return events


def result_of(events: Iterable[Event], request_id: str = "c") -> Tensors:
    done = next(e for e in events if isinstance(e, Done) and e.request_id == request_id)
    assert done.result is not None
    return done.result


def tokens_of(events: Iterable[Event], request_id: str) -> list[int]:
    return [t for e in events if isinstance(e, Delta) and e.request_id == request_id for t in e.token_ids]
