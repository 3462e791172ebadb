"""Encoder–decoder models with the architecture of T5, loaded by workers to read states. The engine does not host them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers import AutoModelForSeq2SeqLM

from service.engine.model.architecture import first_tensor
from service.engine.model.encoder_decoder import SIDES, EncoderDecoderShape, Side, SideTap
from service.engine.model.files.revisions import Revisions
from service.engine.model.hooks import StopForward
from service.engine.model.loading import find_model, load_as
from service.engine.shapes import Int, Tensor

States = dict[SideTap, Tensor]


@dataclass(frozen=True, kw_only=True)
class _Parts:
    """Modules of the encoder or the decoder."""

    stack: nn.Module
    embed: nn.Module
    blocks: Sequence[nn.Module]
    final_norm: nn.Module


class EncoderDecoderModel:
    """One frozen encoder–decoder model.

    Attributes:
        name: Name in the wire contract.
        shape: Sites and sizes.
        tokenizer: The fast tokenizer.
        start_id: First token of the decoder.
    """

    def __init__(self, name: str, module: Any, tokenizer: Any, *, revision: str) -> None:
        module.eval().requires_grad_(False)
        self.name = name
        self.revision = revision
        self.tokenizer = tokenizer
        self.shape = EncoderDecoderShape.of(module.config.to_dict(), label=name)
        config = module.config
        start_id = config.decoder_start_token_id if config.decoder_start_token_id is not None else config.pad_token_id
        self.start_id = int(start_id or 0)
        self._module = module
        self._parts: Mapping[Side, _Parts] = {side: _parts_of(getattr(module, side)) for side in SIDES}

    @classmethod
    def load(cls, name: str, path: str, *, device: str, dtype: str, cache: Path | None = None) -> EncoderDecoderModel:
        """Load from a directory or a hub id; raises UnsupportedModel for another architecture or if loading fails.

        ``cache``: A folder of this host that keeps hashes of weights; None: they are computed at every load.
        """
        folder, config = find_model(path)
        EncoderDecoderShape.of(config.to_dict(), label=path)
        module, tokenizer = load_as(AutoModelForSeq2SeqLM, folder, label=path, device=device, dtype=dtype)
        revisions = Revisions(None if cache is None else cache / "revisions")
        return cls(name, module, tokenizer, revision=revisions.of_folder(folder))

    @property
    def dtype(self) -> str:
        """Dtype of the weights, without ``torch.``."""
        return str(next(self._module.parameters()).dtype).removeprefix("torch.")

    @property
    def _device(self) -> torch.device:
        """Device of the input embeddings."""
        return self._module.get_input_embeddings().weight.device  # type: ignore[no-any-return]

    @property
    def attention(self) -> str:
        """Attention implementation of transformers."""
        return str(self._module.config._attn_implementation)

    @property
    def versions(self) -> dict[str, str]:
        """Versions of torch and transformers."""
        return {"torch": torch.__version__, "transformers": transformers.__version__}

    def read(
        self,
        encoder_ids: Int[Tensor, "texts n"],
        decoder_ids: Int[Tensor, "texts m"] | None,
        *,
        taps: Sequence[SideTap],
    ) -> States:
        """States `[texts, n, d_model]` (of the decoder: `[texts, m, d_model]`), on the model's device.

        Layers above the last tap do not run; the decoder does not run without decoder taps.

        Args:
            encoder_ids: Texts of equal length, so that no padding is needed.
            decoder_ids: Decoder input; may be None without decoder taps.
        """
        device = self._device
        taps_by_side = {side: [tap for tap in taps if tap.side == side] for side in SIDES}
        states: States = {}
        with torch.inference_mode():
            encoded = self._run(
                "encoder",
                taps_by_side["encoder"],
                states,
                whole=bool(taps_by_side["decoder"]),
                input_ids=encoder_ids.to(device),
            )
            if taps_by_side["decoder"]:
                assert decoder_ids is not None
                assert encoded is not None
                self._run(
                    "decoder",
                    taps_by_side["decoder"],
                    states,
                    whole=False,
                    input_ids=decoder_ids.to(device),
                    encoder_hidden_states=encoded,
                    use_cache=False,
                )
        return states

    def _run(self, side: Side, taps: Sequence[SideTap], states: States, *, whole: bool, **inputs: Any) -> Tensor | None:
        """Forward of one side; returns its last hidden state, or None if it stopped early."""
        with contextlib.suppress(StopForward), _capturing(self._parts[side], taps, states, stop=not whole):
            return self._parts[side].stack(**inputs)[0]  # type: ignore[no-any-return]
        return None


def _parts_of(stack: Any) -> _Parts:
    return _Parts(stack=stack, embed=stack.embed_tokens, blocks=list(stack.block), final_norm=stack.final_layer_norm)


@contextlib.contextmanager
def _capturing(parts: _Parts, taps: Sequence[SideTap], states: States, *, stop: bool) -> Iterator[None]:
    """Register hooks that capture the taps' states and stop the forward after the last one."""

    def capture(tap: SideTap, hidden: Tensor | None) -> None:
        assert hidden is not None
        states[tap] = hidden
        if stop and all(other in states for other in taps):
            raise StopForward

    handles = []
    for tap in taps:
        if tap.kind == "resid_pre":
            assert tap.layer is not None
            handles.append(parts.blocks[tap.layer].register_forward_pre_hook(_on_input(tap, capture), with_kwargs=True))
        else:
            handles.append(_module_of(parts, tap).register_forward_hook(_on_output(tap, capture)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _module_of(parts: _Parts, tap: SideTap) -> nn.Module:
    if tap.layer is not None:
        return parts.blocks[tap.layer]
    return parts.embed if tap.kind == "embed" else parts.final_norm


def _on_input(tap: SideTap, capture: Callable[[SideTap, Tensor | None], None]) -> Callable[..., None]:
    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        capture(tap, args[0] if args else kwargs["hidden_states"])

    return hook


def _on_output(tap: SideTap, capture: Callable[[SideTap, Tensor | None], None]) -> Callable[..., None]:
    def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        capture(tap, first_tensor(output))

    return hook
