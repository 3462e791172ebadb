"""Answers in a form that can be compared: whole or streamed, alone or in a batch, and errors."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import httpx
import numpy as np
from safetensors.torch import load

TOLERANCE = 1e-5


def choices_of(answer: httpx.Response) -> dict[int, dict[str, Any]]:
    """Text, finish reason and log-probabilities by index, of a complete answer or of a stream."""
    assert answer.status_code == 200, answer.text
    if not answer.headers["content-type"].startswith("text/event-stream"):
        return {choice["index"]: _complete(choice) for choice in answer.json()["choices"]}
    events = [line.removeprefix("data: ") for line in answer.text.split("\n") if line.startswith("data: ")]
    assert events[-1] == "[DONE]", events[-1:]
    found: dict[int, dict[str, Any]] = {}
    for event in map(json.loads, events[:-1]):
        assert "error" not in event, event
        for choice in event["choices"]:
            _add(found.setdefault(choice["index"], {"text": "", "logprobs": None, "finish_reason": None}), choice)
    return found


def require_same_choices(found: Mapping[int, Any], expected: Mapping[int, Any]) -> None:
    """Texts and finish reasons are equal, and log-probabilities of the same tokens equal to ``TOLERANCE``."""
    assert found.keys() == expected.keys()
    for index, one in found.items():
        other = expected[index]
        assert (one["text"], one["finish_reason"]) == (other["text"], other["finish_reason"])
        _require_close(one["logprobs"], other["logprobs"])


def require_same_tensors(found: bytes, expected: bytes) -> None:
    """The same names, shapes and integers, and numbers equal to ``TOLERANCE`` of their size, or of their dtype."""
    one, other = load(found), load(expected)
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert (tensor.dtype, tensor.shape) == (other[name].dtype, other[name].shape), name
        tolerance = TOLERANCE if tensor.dtype.itemsize == 4 else 2.0**-7
        a, b = tensor.double().numpy(), other[name].double().numpy()
        if not tensor.is_floating_point():
            assert np.array_equal(a, b), name
        else:
            scale = max(1.0, float(np.nanmax(np.abs(b), initial=0.0)))
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * scale, err_msg=name)


def require_error(answer: httpx.Response, *, field: str | None) -> None:
    """The documented form of an error. field: what it must name, if the request had it."""
    assert 400 <= answer.status_code < 500, (answer.status_code, answer.text)
    content = answer.json()
    if "error" in content:
        error = content["error"]
        assert error["message"], content
        assert error["type"] == "invalid_request_error", content
        named = [] if error["param"] is None else [error["param"].split(".")]
    else:
        assert answer.headers["content-type"] == "application/problem+json", content
        assert content["status"] == answer.status_code, content
        assert content["type"].startswith("urn:promptatlas:problem:"), content
        assert content["title"], content
        assert content["detail"], content
        assert content["request_id"] == answer.headers["x-request-id"], content
        named = [item["loc"] for item in content.get("errors") or []]
    assert field is None or any(field in map(str, loc) for loc in named), (answer.status_code, content)


def _complete(choice: Mapping[str, Any]) -> dict[str, Any]:
    text = choice["text"] if "text" in choice else choice["message"]["content"]
    return {"text": text, "finish_reason": choice["finish_reason"], "logprobs": choice["logprobs"]}


def _add(found: dict[str, Any], choice: Mapping[str, Any]) -> None:
    found["text"] += choice["text"] if "text" in choice else choice["delta"].get("content") or ""
    assert found["finish_reason"] is None, "a part after the end"
    found["finish_reason"] = choice["finish_reason"]
    logprobs = choice.get("logprobs")
    if logprobs is not None:
        before = found["logprobs"] or {name: [] for name in logprobs}
        found["logprobs"] = {name: before[name] + column for name, column in logprobs.items()}


def _require_close(one: Any, other: Any) -> None:
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() != other.keys():
        # At the end of a list of alternatives, equally probable tokens may take each other's place.
        _require_ties(one, other)
    elif isinstance(one, dict):
        for name, value in one.items():
            _require_close(value, other[name])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            _require_close(a, b)
    elif isinstance(one, float) or isinstance(other, float):
        assert math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE), (one, other)
    else:
        assert one == other


def _require_ties(one: Mapping[str, float], other: Mapping[str, float]) -> None:
    assert len(one) == len(other), (one, other)
    _require_close(sorted(one.values()), sorted(other.values()))
    for name in one.keys() & other.keys():
        _require_close(one[name], other[name])
