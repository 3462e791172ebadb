"""Tuned prompts and their one compiled form: keys and values for each layer.

A prompt in front of a causal model does not depend on what follows, so whatever was trained becomes a key/value prefix.
``compile_prompt`` is differentiable in the prompt's tensors: what is tuned through it is what is served.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from service.engine.attention.kv_cache import CompiledPrompt
from service.engine.attention.metadata import ProbabilitySink, RecordingMetadata
from service.engine.model.hooks import Change, ForwardHooks, Read, StopForward
from service.engine.model.hosted_model import HostedModel
from service.engine.model.sites import Tap
from service.engine.requests import PromptChoice
from service.engine.shapes import Tensor
from service.errors import InvalidRequest

Kind = Literal["soft", "deep", "prefix"]
Where = Literal["local", "carried"]


@dataclass(frozen=True)
class Prompt:
    """A tuned prompt as stored, float32.

    tensors: ``soft`` `[n_virtual, d_model]`; ``deep.{layer}`` `[n_virtual, d_model]` each; ``prefix``
        `[n_layers, 2, n_kv_heads, n_virtual, d_head]`.
    where: deep only: "local" (keys and values at the chosen layers, nothing elsewhere) or "carried" (outputs run on upwards).
    """

    kind: Kind
    tensors: Mapping[str, Tensor]
    where: Where | None = None

    @property
    def n_virtual(self) -> int:
        first = next(iter(self.tensors.values()))
        return int(first.shape[3] if self.kind == "prefix" else first.shape[0])

    @property
    def layers(self) -> tuple[int, ...]:
        """Layers that a deep prompt has vectors for, ascending; empty for the other kinds."""
        return tuple(sorted(int(name.split(".")[1]) for name in self.tensors)) if self.kind == "deep" else ()

    @property
    def form(self) -> tuple[object, ...]:
        """Prompts of equal form can be mixed."""
        return (self.kind, self.where, tuple(sorted((name, tuple(t.shape)) for name, t in self.tensors.items())))


def from_tensors(tensors: Mapping[str, Tensor], *, where: str | None = None) -> Prompt:
    """Tell the kind from the tensors' names, as in the native file format.

    Raises:
        InvalidRequest: the names are of no kind, or of several.
    """
    names = set(tensors)
    floats = {name: tensor.float() for name, tensor in tensors.items()}
    if names == {"soft"}:
        return Prompt("soft", floats)
    if names == {"prefix"}:
        return Prompt("prefix", floats)
    if names and all(name.startswith("deep.") and name[5:].isdecimal() for name in names):
        return Prompt("deep", floats, "carried" if where == "carried" else "local")
    raise InvalidRequest(
        f"expected the tensors soft, prefix or deep.<layer>, got {', '.join(sorted(names)) or 'none'}."
    )


def mix_prompts(parts: Sequence[tuple[Prompt, float]]) -> Prompt:
    """The affine mix Σ weight·prompt of prompts of one form.

    Raises:
        InvalidRequest: the forms differ.
    """
    first = parts[0][0]
    for prompt, _ in parts[1:]:
        if prompt.form != first.form:
            raise InvalidRequest(f"only prompts of one shape can be mixed: expected {first.form}, got {prompt.form}.")
    mixed = {
        name: torch.stack([weight * prompt.tensors[name] for prompt, weight in parts]).sum(0) for name in first.tensors
    }
    return Prompt(first.kind, mixed, first.where)


def compile_prompt(model: HostedModel, prompt: Prompt) -> CompiledPrompt:
    """Keys and values of ``prompt`` in every layer; gradients flow to its tensors unless they are switched off.

    Raises:
        InvalidRequest: the prompt does not fit the model.
    """
    check_fit(model, prompt)
    shape = model.kv_shape
    if prompt.kind == "prefix":
        stacked = prompt.tensors["prefix"].to(shape.dtype)
        pairs = [stacked[i].to(layer.device) for i, layer in enumerate(shape.layers)]
        return CompiledPrompt(prompt.n_virtual, tuple(p[0] for p in pairs), tuple(p[1] for p in pairs))
    plan = run_virtual(model, prompt, reads=(), on_read=_ignore)
    shown = {layer for layer in range(len(shape.layers)) if has_states(prompt, layer)}
    return CompiledPrompt(
        prompt.n_virtual,
        tuple(plan.keys[i] if i in shown else None for i in range(len(shape.layers))),
        tuple(plan.values[i] if i in shown else None for i in range(len(shape.layers))),
    )


def has_states(prompt: Prompt, layer: int) -> bool:
    """Whether the prompt's virtual positions exist in this layer."""
    if prompt.kind == "deep":
        return layer in prompt.layers if prompt.where == "local" else layer >= prompt.layers[0]
    return True


def run_virtual(
    model: HostedModel,
    prompt: Prompt,
    *,
    reads: Sequence[Tap],
    on_read: Read,
    on_probabilities: ProbabilitySink | None = None,
) -> RecordingMetadata:
    """Run a soft or deep prompt's vectors through the model, keeping keys and values and reporting ``reads``.

    Without reads it stops at the last layer's attention: nothing above writes keys or values.
    """
    last = (prompt.layers[-1] if prompt.where == "local" else model.architecture.n_layers - 1) if not reads else None

    def stop_at_last(layer: int) -> None:
        if layer == last:
            raise StopForward

    layers = frozenset(tap.layer for tap in reads if tap.kind == "attn_probs" and tap.layer is not None)
    plan = RecordingMetadata(
        prompt.n_virtual, on_layer=stop_at_last, on_probabilities=on_probabilities, probability_layers=layers
    )
    changes: dict[Tap, list[Change]] = {
        Tap("resid_pre", layer): [_put(prompt.tensors[f"deep.{layer}"])] for layer in prompt.layers
    }
    vectors = prompt.tensors["soft"] if prompt.kind == "soft" else torch.zeros(prompt.n_virtual, model.d_model)
    at = torch.arange(prompt.n_virtual) if any(tap.kind == "logits" for tap in reads) else None
    if any(tap.kind == "embed" for tap in reads) and prompt.kind == "soft":
        # The vectors stand in for the embedding module's output; the module itself is not run.
        on_read(Tap("embed"), vectors)
    hooked = [tap for tap in reads if tap.kind != "embed"]
    observer = ForwardHooks(model.module, model.architecture, reads=hooked, on_read=on_read, changes=changes)
    with observer, contextlib.suppress(StopForward):
        model.forward(plan, vectors=vectors, positions=plan.positions, logits_at=at)
    return plan


def check_fit(model: HostedModel, prompt: Prompt) -> None:
    """Raise InvalidRequest, saying what was expected and what came, when the prompt's shapes are not the model's."""
    n_layers = model.architecture.n_layers
    if prompt.kind == "prefix":
        shapes = {(layer.n_kv_heads, layer.d_key, layer.d_value) for layer in model.kv_shape.layers}
        if len(shapes) > 1 or any(d_key != d_value for _, d_key, d_value in shapes):
            raise InvalidRequest(
                f"{model.card.name} has layers of different key and value shapes: no prefix prompt fits it."
            )
        heads, d_head, _ = next(iter(shapes))
        expected = (n_layers, 2, heads, prompt.n_virtual, d_head)
        if tuple(prompt.tensors["prefix"].shape) != expected:
            raise InvalidRequest(f"prefix: expected shape {expected}, got {tuple(prompt.tensors['prefix'].shape)}.")
        return
    for name, tensor in prompt.tensors.items():
        if tuple(tensor.shape) != (prompt.n_virtual, model.d_model):
            raise InvalidRequest(
                f"{name}: expected shape {(prompt.n_virtual, model.d_model)}, got {tuple(tensor.shape)}."
            )
    if prompt.layers and prompt.layers[-1] >= n_layers:
        raise InvalidRequest(f"deep.{prompt.layers[-1]}: the model has layers 0 to {n_layers - 1}.")


def _put(vectors: Tensor) -> Change:
    return lambda hidden: vectors.to(device=hidden.device, dtype=hidden.dtype)


def _ignore(tap: Tap, states: Tensor) -> None:
    return None


@dataclass(frozen=True)
class LoadedPrompt:
    """A prompt in both forms."""

    prompt: Prompt
    compiled: CompiledPrompt


class PromptCache:
    """Least-recently-used compiled prompts, keyed by the content of the choice: two prompts never share an entry.

    One cache belongs to one model in one dtype, so neither is part of the key. Only a choice of which every part was
    loaded is kept; a failure keeps nothing.
    """

    def __init__(self, model: HostedModel, *, load: Callable[[str], Prompt], max_bytes: int) -> None:
        self._model = model
        self._load = load
        self._max_bytes = max_bytes
        self._entries: OrderedDict[tuple[tuple[str, float], ...], LoadedPrompt] = OrderedDict()
        self.n_bytes = 0
        self.n_hits = 0
        self.n_misses = 0

    def get(self, choice: PromptChoice) -> LoadedPrompt:
        """The choice, compiled; loads and compiles at most once while it stays in the cache.

        Raises:
            NotFound, DamagedArtifact: from the injected loader.
            InvalidRequest: it does not fit the model, or its parts do not fit each other.
        """
        entry = self._entries.get(choice.key)
        if entry is not None:
            self._entries.move_to_end(choice.key)
            self.n_hits += 1
            return entry
        self.n_misses += 1
        parts = [(self._load(sha256), weight) for sha256, weight in choice.parts]
        prompt = parts[0][0] if len(parts) == 1 and parts[0][1] == 1.0 else mix_prompts(parts)
        with torch.inference_mode():
            entry = LoadedPrompt(prompt, compile_prompt(self._model, prompt))
        self._keep(choice, entry)
        return entry

    def _keep(self, choice: PromptChoice, entry: LoadedPrompt) -> None:
        self._entries[choice.key] = entry
        self.n_bytes += entry.compiled.n_bytes
        while self.n_bytes > self._max_bytes and len(self._entries) > 1:
            _, oldest = self._entries.popitem(last=False)
            self.n_bytes -= oldest.compiled.n_bytes
