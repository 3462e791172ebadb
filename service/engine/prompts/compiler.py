"""Base class of prompt compilers: how the engine applies a kind of prompt. Each kind has a file.

In a causal model, virtual positions do not depend on the text after them, so they become a key/value prefix. ``compile`` is
differentiable in the prompt's tensors, so a prompt is served by the same function that it is tuned with.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch

from service.engine.attention.kv_cache import CompiledPrompt
from service.engine.attention.metadata import RecordingMetadata
from service.engine.attention.reads import AttentionReads
from service.engine.model.hooks import Change, ForwardHooks, Read, StopForward
from service.engine.model.hosted_model import HostedModel
from service.engine.model.sites import Tap
from service.engine.prompts.prompt import Prompt
from service.engine.shapes import Tensor
from service.errors import InvalidRequest


class PromptCompiler(ABC):
    """Checks and compiles prompts of one kind. Stateless."""

    @abstractmethod
    def compile(self, model: HostedModel, prompt: Prompt) -> CompiledPrompt:
        """Keys and values of a prompt that fits the model; differentiable in its tensors unless gradients are disabled."""

    def check(self, model: HostedModel, prompt: Prompt) -> None:
        """Raise InvalidRequest, with expected and received sizes, if the prompt does not fit the model."""
        if prompt.n_virtual >= model.n_positions:
            raise InvalidRequest(
                f"expected fewer virtual positions than the {model.n_positions} positions of the model, so that a text fits; "
                f"got {prompt.n_virtual}."
            )
        n_layers = model.architecture.n_layers
        expected = prompt.prompt_form.full_shape(_Sizes(model), n_virtual=prompt.n_virtual)
        for name, tensor in prompt.tensors.items():
            if tuple(tensor.shape) != expected:
                raise InvalidRequest(f"{name}: expected shape {expected}, got {tuple(tensor.shape)}.")
        if prompt.layers and prompt.layers[-1] >= n_layers:
            name = prompt.prompt_form.tensor_name(prompt.layers[-1])
            raise InvalidRequest(f"{name}: the model has layers 0 to {n_layers - 1}.")

    def has_states(self, prompt: Prompt, layer: int) -> bool:
        """Whether the prompt's virtual positions exist in this block."""
        return False

    def has_head_states(self, prompt: Prompt) -> bool:
        """Whether the prompt's virtual positions reach the final norm and the logits."""
        return False

    def reads_at(self, prompt: Prompt, tap: Tap, *, n_layers: int) -> bool:
        """Whether the prompt's virtual positions have a state at a tap."""
        if tap.kind == "embed":
            return False
        if tap.kind in ("final_norm", "logits"):
            return self.has_head_states(prompt)
        layer = tap.layer
        if layer is None:
            numbers = [int(part) for part in (tap.path or "").split(".") if part.isdecimal()]
            layer = numbers[0] if numbers else None
        return layer is not None and layer < n_layers and self.has_states(prompt, layer)

    def run(
        self,
        model: HostedModel,
        prompt: Prompt,
        *,
        reads: Sequence[Tap],
        on_read: Read,
    ) -> RecordingMetadata | None:
        """Run the virtual positions through the model and report ``reads``. Returns None for kinds that run no positions."""
        return None

    def additions(self, prompt: Prompt) -> Mapping[Tap, Tensor]:
        """Vectors `[d_model]` that are added to the states of every text and generated token at a tap."""
        return {}


class _Sizes:
    """Sizes of a hosted model. Those of keys and values are of layer 0, since they may differ by layer."""

    def __init__(self, model: HostedModel) -> None:
        first = model.kv_shape.layers[0]
        self.n_layers = model.architecture.n_layers
        self.d_model = model.d_model
        self.n_kv_heads = first.n_kv_heads * model.n_head_ranks
        self.d_head = first.d_key


def run_vectors(
    model: HostedModel,
    vectors: Tensor,
    *,
    changes: Mapping[Tap, Sequence[Change]],
    last_layer: int | None,
    reads: Sequence[Tap],
    on_read: Read,
) -> RecordingMetadata:
    """Run vectors `[n_virtual, d_model]` through the model as one sequence, record keys and values, report ``reads``.

    Args:
        changes: applied at block inputs.
        last_layer: the run stops after this layer's attention; None: after the last block or the last read.
    """

    def stop_at_last(layer: int) -> None:
        if layer == last_layer:
            raise StopForward

    metadata = RecordingMetadata(len(vectors), on_layer=stop_at_last, reads=_attention_reads(reads, on_read, model))
    at = torch.arange(len(vectors)) if any(tap.kind == "logits" for tap in reads) else None
    hooked = [tap for tap in reads if tap.kind != "embed" and not tap.is_reported]
    hooks = ForwardHooks(model.module, model.architecture, reads=hooked, on_read=on_read, changes=changes)
    with hooks, contextlib.suppress(StopForward):
        model.forward(metadata, vectors=vectors, positions=metadata.positions, logits_at=at)
    return metadata


def _attention_reads(taps: Sequence[Tap], on_read: Read, model: HostedModel) -> AttentionReads | None:
    """The taps that the attention reports, passed to ``on_read`` like the others."""
    layers: dict[str, set[int]] = {}
    for tap in taps:
        if tap.is_reported and tap.layer is not None:
            layers.setdefault(tap.kind, set()).add(tap.layer)
    if not layers:
        return None
    return AttentionReads(
        {site: frozenset(found) for site, found in layers.items()},
        sink=lambda site, layer, offset, rows: on_read(Tap(site, layer), rows),
        on_done=lambda site, layer: None,
        whole=None if model.division is None else model.division.whole_rows_of_heads,
    )


def compiled_from(
    metadata: RecordingMetadata, *, n_virtual: int, layers: Sequence[int], n_layers: int
) -> CompiledPrompt:
    """A compiled prompt with the recorded keys and values of ``layers``, and none in other layers."""
    recorded = set(layers)
    return CompiledPrompt(
        n_virtual,
        tuple(metadata.keys[i] if i in recorded else None for i in range(n_layers)),
        tuple(metadata.values[i] if i in recorded else None for i in range(n_layers)),
    )


def ignore(tap: Tap, states: Tensor) -> None:
    """Callback for runs without reads."""
