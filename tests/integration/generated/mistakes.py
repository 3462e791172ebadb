"""Strategies for requests with one mistake: a valid request of which one field is wrong, and the name of that field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from tests.integration.generated import bodies
from tests.integration.generated.bodies import Sent
from tests.integration.generated.world import N_POSITIONS, GeneratedWorld

_LONG = "x y " * N_POSITIONS
_SCALE = {"site": "resid_post", "op": "scale"}

_ANYWHERE: Mapping[str, list[Any]] = {
    "model": ["", "nothing", 3, None, ["bytes"], "bytes:no-such-prompt", "bytes:fallback-soft"],
    "prompt_ref": [
        "no-such-prompt",
        "UPPER",
        "fallback-soft@9",
        7,
        {"mix": []},
        {"concat": ["x"]},
        {"concat": ["x", "no-such-prompt"]},
        {"mix": [{"ref": "x", "weight": "heavy"}]},
    ],
    "never_heard_of": [1, None],
}
_SAMPLING: Mapping[str, list[Any]] = {
    "n": [0, 129, "two", 1.5],
    "temperature": [-0.1, 2.1, "hot"],
    "top_p": [0, 1.01, "most"],
    "top_k": [-2, 0.5],
    "min_p": [-0.1, 1.1],
    "presence_penalty": [3, "some"],
    "frequency_penalty": [-3],
    "repetition_penalty": [0, 101],
    "logit_bias": [{"x": 1}, {"1": 101}, [1], {"99999": 1.0}],
    "stop": ["", 3, ["a"] * 17, [""]],
    "stop_token_ids": [[-1], [99999], 3],
    "min_tokens": [-1, 100_000],
    "seed": [2**63, "lucky"],
    "ignore_eos": ["yes"],
    "skip_special_tokens": [1],
    "user": [3],
}
_OPENAI: Mapping[str, list[Any]] = {
    "stream": ["yes"],
    "stream_options": [{"include_usage": "yes"}, 3],
    "metadata": [{"a": 3}],
    "service_tier": ["gold"],
}
_EDITS: Mapping[str, list[Any]] = {
    "interventions": [
        3,
        [{"site": "resid_post", "op": "add"}],
        [{"site": "resid_post", "op": "add", "value": "missing"}],
        [{**_SCALE, "value": "v"}],
        [{**_SCALE, "site": "nowhere"}],
        [{**_SCALE, "op": "double"}],
        [{**_SCALE, "layers": [99]}],
        [{**_SCALE, "positions": [-999]}],
    ]
}
_READS: Mapping[str, list[Any]] = {
    "inputs": [[], "text", [3], [[]], [[-1]], [[99999]], [_LONG]],
    "sites": [[], "resid_post", ["nowhere"], ["model.layers.99.mlp"], [3]],
    "layers": [[], [99], [-99], "some", ["1"]],
    "reduce": ["sum", {"lens": 0}, {"nearest": 1, "metric": "taxi"}, {"project": "run-of-nothing"}],
    "dtype": ["int8", 32],
}

_WRONG: Mapping[str, Mapping[str, list[Any]]] = {
    "/v1/completions": {
        **_SAMPLING,
        **_OPENAI,
        **_EDITS,
        "prompt": [3, [], {}, [[]], [[-1]], [99999], _LONG, [_LONG], [3.5], None],
        "max_tokens": [-1, "many", 1.5, 2**31],
        "logprobs": [-1, 21, "all"],
        "echo": ["yes"],
        "best_of": [77],
        "suffix": ["end"],
    },
    "/v1/chat/completions": {
        **_SAMPLING,
        **_OPENAI,
        **_EDITS,
        "messages": [
            [],
            "hello",
            [{"role": "wizard", "content": "x"}],
            [{"role": "user"}],
            [{"role": "user", "content": _LONG}],
        ],
        "max_tokens": [0, "many"],
        "logprobs": ["yes"],
        "top_logprobs": [-1, 21],
        "tools": [[{"type": "function"}]],
        "response_format": [{"type": "json_object"}],
    },
    "/v1/activations": {
        **_READS,
        **_EDITS,
        "positions": ["first", [], [-999], {"begin": 1}, "generated"],
        "include_virtual": ["yes"],
    },
    "/v1/trajectories": {
        **_SAMPLING,
        **_READS,
        **_EDITS,
        "max_tokens": [0, "many"],
        "include_input": ["yes"],
        "stream": [True],
        "echo": [True],
        "logprobs": [3],
    },
    "/v1/embeddings": {
        "input": [3, [], [[]], [99999], [_LONG]],
        "site": ["nowhere", "attn_probs", 3],
        "layer": [99, "1", -99],
        "pool": ["max"],
        "encoding_format": ["hex"],
        "dimensions": [8],
    },
}


@st.composite
def mistaken(draw: st.DrawFn, world: GeneratedWorld) -> tuple[Sent, str]:
    """A request with one wrong field, and its name."""
    makers = (bodies.completions, bodies.chats, bodies.activations, bodies.trajectories, bodies.embeddings)
    sent = draw(draw(st.sampled_from(makers))(world))
    wrong = {**_WRONG[sent.path], **_ANYWHERE}
    name = draw(st.sampled_from(sorted(wrong)))
    body = {**sent.body, name: draw(st.sampled_from(wrong[name]))}
    if sent.path == "/v1/embeddings" and name == "layer":
        body["site"] = "resid_post"
    if name in ("sites", "layers"):
        body["sites"] = body["sites"] if name == "sites" else ["resid_post"]
        body.pop("reduce", None)
    if name == "top_logprobs":
        body["logprobs"] = True
    if name in ("model", "prompt_ref"):
        # A model and a prompt that suit each other, but for the mistake.
        body |= {"model": "bytes"} if name == "prompt_ref" else {}
        body.pop("prompt_ref" if name == "model" else "", None)
    return Sent(sent.path, body, sent.tensors), name
