"""Architecture of a transformers causal model: its embeddings, blocks, attention, MLP, final norm and head.

Knows the module names of the Hugging Face families; knows nothing of prompts, batches or requests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

from service.engine.parallel.division import Division
from service.errors import UnsupportedModel

BLOCK_LISTS = ("layers", "h", "blocks", "decoder_layers")
ATTENTION_NAMES = ("self_attn", "attn", "attention", "self_attention")
MLP_NAMES = ("mlp", "feed_forward", "ffn", "block_sparse_moe", "feedforward")
NORM_NAMES = ("norm", "ln_f", "final_layer_norm", "final_layernorm", "final_norm", "norm_f")


@dataclass(frozen=True)
class LensSite:
    """Where a tensor of TransformerLens is in a model.

    Attributes:
        shape: of one token's row.
        of_input: it is the module's input instead of its output.
        transform: the tensor, from the module's; None: it is the module's. A transformed tensor can only be read.
    """

    module: nn.Module
    shape: tuple[int, ...]
    of_input: bool = False
    transform: Callable[[torch.Tensor], torch.Tensor] | None = None

    @property
    def is_read_only(self) -> bool:
        """Whether a change of it would not change the model's states as it should."""
        return self.transform is not None


@dataclass(frozen=True)
class Architecture:
    """The modules that sites refer to; ``blocks[i]`` is layer i.

    lens: tensors that only TransformerLens has a name for, by that name. division: of the model over ranks, if it is divided.
    """

    embed: nn.Module
    blocks: tuple[nn.Module, ...]
    attentions: tuple[nn.Module, ...]
    mlps: tuple[nn.Module, ...]
    final_norm: nn.Module
    head: nn.Module
    lens: Mapping[str, LensSite] = field(default_factory=dict)
    division: Division | None = None

    @property
    def n_layers(self) -> int:
        return len(self.blocks)


def find_architecture(model: nn.Module) -> Architecture:
    """Find the parts of ``model``.

    Raises:
        UnsupportedModel: a part is missing or has an unknown name.
    """
    decoder = _decoder(model)
    blocks = next(
        (tuple(part) for name in BLOCK_LISTS if isinstance(part := getattr(decoder, name, None), nn.ModuleList)), None
    )
    if not blocks:
        raise UnsupportedModel(
            f"{type(model).__name__}: expected a list of decoder blocks named one of {', '.join(BLOCK_LISTS)}, found none."
        )
    head = model.get_output_embeddings()  # type: ignore[operator]
    if not isinstance(head, nn.Module):
        raise UnsupportedModel(f"{type(model).__name__}: expected a language-model head, found none.")
    return Architecture(
        embed=model.get_input_embeddings(),  # type: ignore[operator]
        blocks=blocks,
        attentions=tuple(_child(block, ATTENTION_NAMES, "attention module") for block in blocks),
        mlps=tuple(_child(block, MLP_NAMES, "MLP module") for block in blocks),
        final_norm=_child(decoder, NORM_NAMES, "final norm"),
        head=head,
    )


def _decoder(model: nn.Module) -> nn.Module:
    decoder = model.get_decoder() if hasattr(model, "get_decoder") else None  # type: ignore[operator]
    if decoder is None or decoder is model:
        decoder = getattr(model, getattr(model, "base_model_prefix", ""), None)
    if not isinstance(decoder, nn.Module):
        raise UnsupportedModel(f"{type(model).__name__}: expected a decoder inside, found none.")
    return decoder


def _child(parent: nn.Module, names: tuple[str, ...], what: str) -> nn.Module:
    for name in names:
        child = getattr(parent, name, None)
        if isinstance(child, nn.Module):
            return child
    raise UnsupportedModel(
        f"{type(parent).__name__}: expected the {what} under one of the names {', '.join(names)}, found none."
    )


def first_tensor(value: object) -> torch.Tensor | None:
    """The tensor of a module's input or output: itself, or the first of a tuple."""
    if isinstance(value, tuple) and value:
        value = value[0]
    return value if isinstance(value, torch.Tensor) else None
