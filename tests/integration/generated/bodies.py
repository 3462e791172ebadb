"""Strategies for valid requests: every field of the routes that run a model, with values that exist."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st
from safetensors.numpy import save

from tests.integration.generated.world import N_LAYERS, Base, GeneratedWorld

ALPHABET = "aбфe ox.ü\n👩‍🇫🇷るth<>"
"""Characters inside and outside of the vocabularies: some are one token, some several byte tokens, some joined."""

RESIDUALS = ("resid_pre", "resid_post", "attn_out", "mlp_out")
SITES = ("embed", *RESIDUALS, "attn_probs", "final_norm", "logits", "blocks.1.hook_resid_post")
_EDITABLE = ("resid_pre", "resid_post", "attn_out", "mlp_out")


@dataclass(frozen=True)
class Sent:
    """A request. tensors: safetensors of its interventions."""

    path: str
    body: Mapping[str, Any]
    tensors: bytes = b""


texts = st.text(ALPHABET, min_size=1, max_size=12)


def optional(fields: Mapping[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Any subset of the fields."""
    return st.fixed_dictionaries({}, optional=dict(fields))


def inputs(base: Base) -> st.SearchStrategy[Any]:
    """A text, or token ids."""
    return texts | st.lists(st.integers(0, base.vocab_size - 1), min_size=1, max_size=8)


@st.composite
def bases(draw: st.DrawFn, world: GeneratedWorld) -> Base:
    """One of the base models."""
    return world.bases[draw(st.sampled_from(sorted(world.bases)))]


def references(base: Base, world: GeneratedWorld) -> st.SearchStrategy[Any]:
    """No prompt, a prompt of any kind, a mix, or prompts one after the other."""
    names = world.prompts[base.name]
    parts = st.fixed_dictionaries(
        {
            "ref": st.sampled_from([f"{base.name}-soft", f"{base.name}-soft-too@1"]),
            "weight": st.sampled_from([0.3, 1.0, -0.5]),
        }
    )
    mix = st.fixed_dictionaries({"mix": st.lists(parts, min_size=1, max_size=3)})
    soft = st.sampled_from([f"{base.name}-soft", f"{base.name}-soft-too@1"])
    concat = st.fixed_dictionaries({"concat": st.lists(soft, min_size=2, max_size=3)})
    return st.none() | st.sampled_from([*names, *(f"{name}@1" for name in names)]) | mix | concat


def sampling(base: Base, *, max_tokens: int = 6) -> st.SearchStrategy[dict[str, Any]]:
    """Sampling fields with a seed or greedy, so that an answer can be repeated."""
    tokens = st.integers(0, base.vocab_size - 1)
    fields = optional(
        {
            "n": st.integers(1, 3),
            "top_p": st.sampled_from([0.3, 0.9, 1.0]),
            "top_k": st.sampled_from([-1, 0, 1, 5]),
            "min_p": st.sampled_from([0.0, 0.1]),
            "presence_penalty": st.sampled_from([-1.0, 0.5]),
            "frequency_penalty": st.sampled_from([-0.5, 2.0]),
            "repetition_penalty": st.sampled_from([0.8, 1.3]),
            "logit_bias": st.dictionaries(tokens.map(str), st.sampled_from([-100.0, -2.0, 3.0, 100.0]), max_size=3),
            "stop": texts | st.lists(texts, max_size=3),
            "stop_token_ids": st.lists(tokens, max_size=4),
            "ignore_eos": st.booleans(),
            "skip_special_tokens": st.booleans(),
            "user": st.just("someone"),
        }
    )
    needed = st.fixed_dictionaries(
        {"seed": st.integers(-(2**63), 2**63 - 1), "temperature": st.sampled_from([0.0, 0.7, 1.0, 2.0])}
    )
    limits = st.integers(1, max_tokens).flatmap(
        lambda limit: st.fixed_dictionaries(
            {"max_tokens": st.just(limit)}, optional={"min_tokens": st.integers(0, limit)}
        )
    )
    return st.tuples(needed, fields, limits).map(lambda parts: {**parts[0], **parts[1], **parts[2]})


@st.composite
def interventions(draw: st.DrawFn, base: Base) -> tuple[list[dict[str, Any]], bytes]:
    """Up to two interventions and their tensors."""
    found, tensors = [], {}
    for i in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        spec = {
            "site": draw(st.sampled_from(_EDITABLE)),
            "layers": draw(st.sampled_from(["all", [1], [-1, 0]])),
            "op": draw(st.sampled_from(["add", "set", "scale", "project_out"])),
            "positions": draw(st.sampled_from(["all", "last", {"start": 1}])),
            "strength": draw(st.sampled_from([0.5, 1.0, -1.0])),
        }
        if spec["op"] != "scale":
            spec["value"] = f"v{i}"
            tensors[f"v{i}"] = np.linspace(-1, 1 + i, base.d_model, dtype=np.float32)
        found.append(spec)
    return found, save(tensors) if tensors else b""


@st.composite
def completions(draw: st.DrawFn, world: GeneratedWorld) -> Sent:
    """Of one model and one or several inputs."""
    base = draw(bases(world))
    prompt = draw(inputs(base) | st.lists(texts, min_size=1, max_size=3))
    body = {"model": base.name, "prompt": prompt, **draw(sampling(base))}
    body |= draw(optional({"logprobs": st.integers(0, 4), "echo": st.booleans()}))
    if draw(st.booleans()):
        body |= {"max_tokens": 0, "min_tokens": 0, "echo": True}
    return _with_prompt(draw, base, world, path="/v1/completions", body=body)


@st.composite
def chats(draw: st.DrawFn, world: GeneratedWorld) -> Sent:
    """Conversations of up to three turns."""
    base = draw(bases(world))
    roles = st.sampled_from(["system", "user", "assistant"])
    parts = st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": texts}), min_size=1, max_size=2)
    turn = st.fixed_dictionaries({"role": roles, "content": texts | parts})
    body = {"model": base.name, "messages": draw(st.lists(turn, min_size=1, max_size=3)), **draw(sampling(base))}
    if draw(st.booleans()):
        body |= {"logprobs": True, **draw(optional({"top_logprobs": st.integers(0, 4)}))}
    return _with_prompt(draw, base, world, path="/v1/chat/completions", body=body)


@st.composite
def activations(draw: st.DrawFn, world: GeneratedWorld) -> Sent:
    """All sites, reductions and choices of positions."""
    base = draw(bases(world))
    body = {"model": base.name, "inputs": draw(st.lists(inputs(base), min_size=1, max_size=4)), **draw(_reads())}
    body |= draw(
        optional(
            {
                "positions": st.sampled_from(["all", "last", [0], [-1, 0], {"start": 0, "stop": -1}, {"start": -2}]),
                "include_virtual": st.booleans(),
            }
        )
    )
    if body.get("reduce") == "mean" and isinstance(body.get("positions"), dict):
        body["positions"] = "all"  # a slice may select no position, of which there is no mean
    return _with_prompt(draw, base, world, path="/v1/activations", body=body)


@st.composite
def trajectories(draw: st.DrawFn, world: GeneratedWorld) -> Sent:
    """States of generations."""
    base = draw(bases(world))
    body = {"model": base.name, "inputs": draw(st.lists(inputs(base), min_size=1, max_size=3)), **draw(_reads())}
    body |= draw(sampling(base, max_tokens=4)) | draw(optional({"include_input": st.booleans()}))
    if body.get("reduce") == "mean":
        del body["reduce"]
    return _with_prompt(draw, base, world, path="/v1/trajectories", body=body)


@st.composite
def embeddings(draw: st.DrawFn, world: GeneratedWorld) -> Sent:
    """Pooled states of texts."""
    base = draw(bases(world))
    body = {"model": base.name, "input": draw(inputs(base) | st.lists(texts, min_size=1, max_size=3))}
    body |= draw(
        st.sampled_from([{}, {"site": "embed"}, {"site": "resid_post", "layer": -1}, {"site": "mlp_out", "layer": 1}])
    )
    body |= draw(optional({"pool": st.sampled_from(["mean", "last"]), "prompt_ref": references(base, world)}))
    return Sent("/v1/embeddings", body)


def _reads() -> st.SearchStrategy[dict[str, Any]]:
    """Sites with layers, and reductions that they allow."""
    layers = st.sampled_from(["all", [0], [N_LAYERS - 1, 0], [-1]])
    common = {"layers": layers, "dtype": st.sampled_from(["float32", "float16", "bfloat16"])}
    tokens = st.sampled_from([{"lens": 3}, {"nearest": 2}, {"nearest": 2, "metric": "cosine"}])
    any_site = st.fixed_dictionaries(
        {"sites": st.lists(st.sampled_from(SITES), min_size=1, max_size=3, unique=True)},
        optional={**common, "reduce": st.sampled_from([None, "norm"])},
    )
    residual = st.fixed_dictionaries(
        {"sites": st.lists(st.sampled_from(RESIDUALS), min_size=1, max_size=2, unique=True)},
        optional={**common, "reduce": st.sampled_from([None, "mean", "norm"]) | tokens},
    )
    return any_site | residual


def _with_prompt(draw: st.DrawFn, base: Base, world: GeneratedWorld, *, path: str, body: dict[str, Any]) -> Sent:
    reference = draw(references(base, world))
    edits, tensors = draw(interventions(base))
    body |= {} if reference is None else {"prompt_ref": reference}
    body |= {} if not edits else {"interventions": edits}
    return Sent(path, body, tensors)
