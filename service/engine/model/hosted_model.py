"""Hosted model: a frozen causal language model with packed attention. Loads, checks, describes and runs it.

Knows transformers; knows nothing of kinds of prompts, batches or requests.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
import transformers

from service.engine.attention.kernels import METADATA_ARGUMENT, AttentionMetadata
from service.engine.attention.kv_cache import KVCache, KVShape, LayerShape
from service.engine.attention.metadata import RecordingMetadata
from service.engine.model.architecture import Architecture, find_architecture
from service.engine.model.card import ModelCard
from service.engine.model.first_token import first_token_is_sink
from service.engine.model.layers.packed_linear import DEFAULT_PACKED_BYTES, pack_linears
from service.engine.model.lens_sites import find_lens_sites
from service.engine.model.loading import DeviceMap, find_dtype, load_pretrained
from service.engine.model.sites import SiteCatalogue
from service.engine.model.startup_checks import (
    check_against_plain,
    module_rows,
    module_widths,
    probe,
    reference_logits,
    use_packed_attention,
)
from service.engine.parallel.division import Division, digest
from service.engine.parallel.leader import DividedCache, Leader, announced
from service.engine.parallel.messages import ReadVocabulary
from service.engine.parallel.ranks import Ranks
from service.engine.shapes import Float, Int, Tensor
from service.errors import UnsupportedModel

logger = logging.getLogger(__name__)


class HostedModel:
    """One base model, frozen, ready for packed forwards.

    Attributes:
        card: its public description.
        tokenizer: the model's fast tokenizer.
        architecture: its modules.
        catalogue: its sites.
        kv_shape: shapes of its keys and values.
    """

    def __init__(
        self,
        name: str,
        module: Any,
        tokenizer: Any,
        *,
        revision: str,
        packed_bytes: int = DEFAULT_PACKED_BYTES,
        dtype_reason: str = "as loaded",
        division: Division | None = None,
    ) -> None:
        """Freeze a loaded model and replace its attention. All ranks of a divided model must do it.

        Args:
            packed_bytes: memory limit of packed weight copies, which are faster on a CPU; 0: no copies.
            dtype_reason: why the module has its dtype.
            division: over how many ranks the module is divided, and which of them this is; None: it is whole.

        Raises:
            UnsupportedModel: a part is not found, or the packed forward differs from the plain one.
        """
        module.eval().requires_grad_(False)
        self.module = module
        self.tokenizer = tokenizer
        self.architecture: Architecture = find_architecture(module)
        self.config: Any = self.module.config.get_text_config(decoder=True)
        self.division = division
        self.leader: Leader | None = None
        reference = reference_logits(self.module, vocab_size=self.config.vocab_size)
        use_packed_attention(self.module, self.config)
        pack_linears(self.module, max_bytes=packed_bytes if division is None else 0)
        self.kv_shape = self._measure_kv()
        self.d_model = int(self.module.get_input_embeddings().weight.shape[1])
        self.catalogue = self._find_sites()
        check_against_plain(self.forward, reference, shape=self.kv_shape)
        self.card = self._describe(name, revision, dtype_reason=dtype_reason)

    @classmethod
    def load(
        cls,
        name: str,
        path: str,
        *,
        device: str = "auto",
        dtype: str = "auto",
        device_map: DeviceMap | None = None,
        cache: Path | None = None,
        ranks: Ranks | None = None,
    ) -> HostedModel:
        """Load from a directory, a GGUF file or a hub id.

        Args:
            device: "auto" (CUDA if there is one), "cpu", "cuda", "cuda:1", or a placement over several devices
                ("balanced", "sequential").
            device_map: distributes the modules over devices, as in ``from_pretrained``; ``device`` is then not used.
            dtype: "float32", "bfloat16", "float16", or "auto" (``choose_dtype``).
            cache: a folder of this host that keeps hashes of weights and converted GGUF files. None: both are computed
                at every load.
            ranks: the other processes over which the model is divided; this one is rank 0.

        Raises:
            UnsupportedModel: there is no loadable model, or its architecture is not supported.
        """
        choice = find_dtype(path, device=device, dtype=dtype, device_map=device_map, cache=cache)
        module, tokenizer, revision = load_pretrained(
            path, device=device, dtype=choice.name, device_map=device_map, cache=cache, ranks=ranks
        )
        logger.info("%s is loaded in %s (%s)", name, choice.name, choice.reason)
        division = None if ranks is None else ranks.division
        model = cls(name, module, tokenizer, revision=revision, dtype_reason=choice.reason, division=division)
        if ranks is not None:
            model.leader = Leader(ranks, ranks.add_model())
        return model

    @property
    def device(self) -> torch.device:
        """Device of the token ids."""
        return self.module.get_input_embeddings().weight.device  # type: ignore[no-any-return]

    @property
    def dtype(self) -> torch.dtype:
        return self.module.get_input_embeddings().weight.dtype  # type: ignore[no-any-return]

    @property
    def n_head_ranks(self) -> int:
        """Ranks over which the heads are divided: ``kv_shape`` and the cache have those of one of them."""
        return 1 if self.division is None else self.division.n_head_ranks

    @property
    def n_positions(self) -> int:
        for field in ("max_position_embeddings", "n_positions", "max_seq_len"):
            if isinstance(value := getattr(self.config, field, None), int):
                return value
        return 1 << 20

    @cached_property
    def first_token_is_sink(self) -> bool:
        """Whether the first position of every text is an attention sink; measured at the first use."""
        return first_token_is_sink(self.forward, architecture=self.architecture, vocab_size=int(self.config.vocab_size))

    def forward(
        self,
        metadata: AttentionMetadata,
        *,
        positions: Int[Tensor, " tokens"],
        ids: Int[Tensor, " tokens"] | None = None,
        vectors: Float[Tensor, "tokens d_model"] | None = None,
        logits_at: Int[Tensor, " kept"] | None = None,
    ) -> Float[Tensor, "kept vocab"]:
        """Run packed tokens.

        Args:
            metadata: what the tokens attend to.
            positions: of the tokens in their sequences, virtual positions included.
            ids: the tokens; or give ``vectors``, which replace their embeddings.
            logits_at: packed indices of the tokens whose logits are computed (default: none).
        """
        with announced(
            self.leader, lambda leader: leader.forward(metadata, ids=ids, vectors=vectors, logits_at=logits_at)
        ):
            return self._forward(metadata, positions=positions, ids=ids, vectors=vectors, logits_at=logits_at)

    def vocabulary(self) -> Float[Tensor, "vocab d_model"]:
        """The embedding module's output for each token, float32, on the embeddings' device."""
        ids = torch.arange(self.catalogue.vocab_size, device=self.device)
        with announced(self.leader, lambda _: ReadVocabulary()):
            # Calls ``forward`` directly, so that the hooks of a running request are not called.
            parts = [self.architecture.embed.forward(part[None])[0].float() for part in torch.split(ids, 1 << 13)]
        return torch.cat(parts)

    def new_cache(self) -> KVCache:
        """An empty cache for the heads of this process; its edits reach all ranks."""
        return KVCache(self.kv_shape) if self.leader is None else DividedCache(self.kv_shape, leader=self.leader)

    def _forward(
        self,
        metadata: AttentionMetadata,
        *,
        positions: Tensor,
        ids: Tensor | None,
        vectors: Tensor | None,
        logits_at: Tensor | None,
    ) -> Tensor:
        device = self.device
        keep = logits_at if logits_at is not None else torch.empty(0, dtype=torch.long)
        inputs = (
            {"input_ids": ids.to(device)[None]}
            if ids is not None
            else {"inputs_embeds": _as(vectors, self.dtype, device)[None]}
        )
        out = self.module(
            **inputs,
            position_ids=positions.to(device)[None],
            use_cache=False,
            logits_to_keep=keep.to(device),
            **{METADATA_ARGUMENT: metadata},
        )
        return out.logits[0]  # type: ignore[no-any-return]

    def _measure_kv(self) -> KVShape:
        metadata = RecordingMetadata(2)
        try:
            with torch.inference_mode():
                self.forward(metadata, ids=torch.zeros(2, dtype=torch.long), positions=metadata.positions)
        except Exception as error:
            raise UnsupportedModel(f"{type(self.module).__name__} cannot run packed rows: {error}") from error
        if sorted(metadata.keys) != list(range(self.architecture.n_layers)):
            raise UnsupportedModel(
                f"{type(self.module).__name__}: expected every block to call the custom attention, got calls of the layers "
                f"{sorted(metadata.keys)}."
            )
        if self.division is not None:
            self.division = self.division.with_heads([metadata.keys[i] for i in range(self.architecture.n_layers)])
        layers = tuple(
            LayerShape(key.shape[0], key.shape[-1], metadata.values[i].shape[-1], key.device)
            for i in range(self.architecture.n_layers)
            for key in (metadata.keys[i],)
        )
        return KVShape(layers, metadata.keys[0].dtype)

    def _find_sites(self) -> SiteCatalogue:
        widths = self._measure_widths()
        lens = find_lens_sites(
            self.architecture,
            partial(probe, self.forward),
            n_heads=int(self.config.num_attention_heads),
            embedding_multiplier=float(getattr(self.config, "embedding_multiplier", 1.0)),
            residual_multiplier=float(getattr(self.config, "residual_multiplier", 1.0)),
        )
        self.architecture = replace(self.architecture, lens=lens.sites)
        return SiteCatalogue(
            n_layers=self.architecture.n_layers,
            d_model=self.d_model,
            vocab_size=int(self.config.vocab_size),
            n_heads=int(self.config.num_attention_heads),
            widths=widths | {name: site.shape for name, site in lens.sites.items()},
            read_only=frozenset(name for name, site in lens.sites.items() if site.is_read_only),
            unreadable=lens.unreadable,
            scattered=frozenset() if self.division is None else self.division.unreadable,
        )

    def _measure_widths(self) -> dict[str, tuple[int, ...]]:
        """Shapes of whole rows by module path. Finds the parts of a divided model."""
        widths = module_widths(self.module, self.forward)
        if self.division is None:
            return widths
        digests = module_rows(self.module, self.forward, keep=digest)
        division = self.division = self.division.with_parts(self.module, self.module.tp_plan, digests)
        self.architecture = replace(self.architecture, division=division)
        parts = {path for path in widths if division.is_part(self.module.get_submodule(path), of_input=False)}
        whole = {path: (size[0] * division.size, *size[1:]) if path in parts else size for path, size in widths.items()}
        return {path: size for path, size in whole.items() if path not in division.unreadable}

    def _describe(self, name: str, revision: str, *, dtype_reason: str) -> ModelCard:
        devices = sorted({str(layer.device) for layer in self.kv_shape.layers})
        return ModelCard(
            name=name,
            architecture=type(self.module).__name__,
            n_layers=self.architecture.n_layers,
            d_model=self.d_model,
            n_heads=int(self.config.num_attention_heads),
            n_kv_heads=self.kv_shape.layers[0].n_kv_heads * self.n_head_ranks,
            d_head=self.kv_shape.layers[0].d_key,
            vocab_size=self.catalogue.vocab_size,
            n_positions=self.n_positions,
            dtype=str(self.dtype).removeprefix("torch."),
            dtype_reason=dtype_reason,
            device=", ".join(devices) + ("" if self.division is None else f", divided over {self.division.size} ranks"),
            revision=revision,
            attention="packed rows over a preallocated cache, torch scaled_dot_product_attention",
            sites=self.catalogue.names,
            has_chat_template=getattr(self.tokenizer, "chat_template", None) is not None,
            versions={"torch": torch.__version__, "transformers": transformers.__version__},
            has_equal_layers=self.kv_shape.is_even,
        )


def _as(vectors: Tensor | None, dtype: torch.dtype, device: torch.device) -> Tensor:
    if vectors is None:
        raise TypeError("forward() expects ids or vectors, got neither.")
    return vectors.to(device=device, dtype=dtype)
