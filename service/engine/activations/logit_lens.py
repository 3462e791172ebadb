"""Logit lens and nearest tokens: rankings of the vocabulary for a state.

The logit lens (nostalgebraist 2020) ends the model early: it applies the final norm, the head, and what the model's class
does after its head (scaling, soft caps) to an inner state.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch.nn import functional as F  # noqa: N812 (the usual name)
from transformers.modeling_outputs import BaseModelOutputWithPast

from service.engine.attention.metadata import PackedMetadata, SequenceGroup
from service.engine.model.detokenizer import Detokenizer
from service.engine.model.hooks import ForwardHooks
from service.engine.model.hosted_model import HostedModel
from service.engine.model.sites import Tap
from service.engine.model.startup_checks import TOLERANCE
from service.engine.parallel.leader import announced
from service.engine.parallel.messages import CheckLens, ReadLens
from service.engine.requests import Lens, Nearest, Ranking
from service.engine.shapes import Float, Tensor
from service.errors import InvalidRequest

CHUNK_VALUES = 1 << 24
"""Values of the largest intermediate result: rows over the vocabulary, or over candidate neighbours."""

N_SPARE = 8
"""Additional candidates of the estimated distances, from which the exact distances choose."""


class TokenRanker:
    """Ranks the vocabulary for states of one model. Ids and scores of a state are `[2, k]` float32 on the CPU.

    Float32 represents ids exactly up to 2^24, which exceeds every vocabulary.
    """

    def __init__(self, model: HostedModel, *, detokenizer: Detokenizer | None) -> None:
        self._model = model
        self._detokenizer = detokenizer
        self._embeddings: Tensor | None = None
        self._has_lens: bool | None = None

    def require(self, ranking: Ranking) -> None:
        """Check that the ranking can be computed.

        Raises:
            InvalidRequest: ``k`` exceeds the vocabulary, or the model does more between the last block and the logits than
                final norm, head and scaling.
        """
        n_tokens = self._model.catalogue.vocab_size
        if ranking.k > n_tokens:
            raise InvalidRequest(
                f"expected at most {n_tokens} tokens, the size of the vocabulary, got {ranking.k}.", loc=("reduce",)
            )
        if isinstance(ranking, Lens):
            if self._has_lens is None:
                self._has_lens = self.check_lens()
            if not self._has_lens:
                raise InvalidRequest(
                    "this model has no logit lens: its logits are not final norm and head applied to the last block's output.",
                    loc=("reduce",),
                )

    def rank(self, states: Float[Tensor, "rows d_model"], ranking: Ranking) -> Float[Tensor, "rows 2 k"]:
        """Ids and scores of the ``k`` first tokens of each state: log-probabilities, or distances.

        A state of zeros, which stands for a missing one, has ids −1 and scores NaN.
        """
        if not len(states):
            return torch.zeros(0, 2, ranking.k)
        width = max(self._model.catalogue.vocab_size, (ranking.k + N_SPARE) * self._model.d_model)
        size = max(1, CHUNK_VALUES // width)
        parts = [self._rank(part, ranking) for part in torch.split(states, size)]
        ranked = torch.cat(parts)
        ranked[~states.any(1).cpu()] = torch.tensor([[-1.0], [torch.nan]])
        return ranked

    def metadata(self, tensors: Mapping[str, Tensor], ranking: Ranking) -> dict[str, object]:
        """Metadata of a result: the tokens' texts, and for distances the mean norm of the embeddings as a scale."""
        metadata: dict[str, object] = {"tokens": self._texts(tensors)}
        if isinstance(ranking, Nearest):
            tokens = self._tokens()
            metadata["vocabulary"] = {"n_tokens": len(tokens), "mean_norm": float(tokens.norm(dim=1).mean())}
        return metadata

    def _texts(self, tensors: Mapping[str, Tensor]) -> dict[str, str]:
        """The text of each token id; keys are strings, as in JSON."""
        if self._detokenizer is None:
            return {}
        ids = {i for name, ids in tensors.items() if name.endswith("_ids") for i in ids.flatten().tolist()}
        return {str(i): self._detokenizer.token_text(i) for i in sorted(ids) if i >= 0}

    def _rank(self, states: Tensor, ranking: Ranking) -> Tensor:
        if isinstance(ranking, Lens):
            scores, ids = self.logprobs(states).topk(ranking.k)
        else:
            scores, ids = self._nearest(states, ranking.k, metric=ranking.metric)
        return torch.stack([ids.float(), scores.float()], 1).cpu()

    # --- the lens ---

    def logprobs(self, states: Float[Tensor, "rows d_model"]) -> Float[Tensor, "rows vocab"]:
        """Log-probabilities of the next token with the final norm and head applied to ``states``; float32."""
        return F.log_softmax(self.logits(states).float(), dim=-1)

    @torch.inference_mode()
    def divergences(
        self, states: Float[Tensor, "rows d_model"], others: Float[Tensor, "rows d_model"]
    ) -> Float[Tensor, "rows"]:
        """Kullback–Leibler divergence in nats of the lens at ``others`` from the lens at ``states``, on the CPU.

        With the distributions p at ``states`` and q at ``others``, KL(p ‖ q) = Σ p (log p − log q). NaN where either state
        is zeros, as a missing one is.
        """
        size = max(1, CHUNK_VALUES // self._model.catalogue.vocab_size)
        parts = [
            F.kl_div(self.logprobs(q), self.logprobs(p), reduction="none", log_target=True).sum(1).clamp(min=0).cpu()
            for p, q in zip(torch.split(states, size), torch.split(others, size), strict=True)
        ]
        found = torch.cat(parts) if parts else torch.zeros(0)
        found[~(states.any(1) & others.any(1)).cpu()] = torch.nan
        return found

    def logits(self, states: Tensor) -> Tensor:
        """Final norm and head applied to ``states``."""
        model = self._model
        # Calls ``forward`` directly, so that the hooks of a running request are not called.
        norm = model.architecture.final_norm
        weight = next(norm.parameters(), None)
        device = states.device if weight is None else weight.device
        hidden = norm.forward(states.to(device, model.dtype)[None])
        ignored_ids = torch.zeros(1, 1, dtype=torch.long, device=model.device)
        with announced(model.leader, lambda _: ReadLens(states)), _replaced_decoder(model.module, hidden):
            out = model.module.forward(input_ids=ignored_ids, use_cache=False, logits_to_keep=0)
        logits: Tensor = out.logits[0]
        return logits

    def check_lens(self) -> bool:
        """Whether the lens of the last block's output gives the model's logits."""
        with announced(self._model.leader, lambda _: CheckLens()):
            return self._has_same_logits()

    def _has_same_logits(self) -> bool:
        model, states = self._model, {}

        def keep(tap: Tap, rows: Tensor) -> None:
            states[tap] = rows.detach().clone()

        last = Tap("resid_post", model.architecture.n_layers - 1)
        n = min(4, model.n_positions)
        metadata = PackedMetadata([SequenceGroup(0, 1, n, None)])
        ids = torch.arange(n) % model.catalogue.vocab_size
        with torch.inference_mode(), ForwardHooks(model.module, model.architecture, reads=(last,), on_read=keep):
            logits = model.forward(metadata, ids=ids, positions=metadata.positions, logits_at=torch.arange(n)).float()
            try:
                lens_logits = self.logits(states[last]).float()
            except (RuntimeError, TypeError, AttributeError):  # a head of another width, a forward with other arguments
                return False
        return bool((lens_logits - logits).abs().max() <= TOLERANCE[model.dtype] * logits.std())

    # --- neighbours ---

    def _nearest(self, states: Tensor, k: int, *, metric: str) -> tuple[Tensor, Tensor]:
        """Distances `[rows, k]` and ids, nearest first. A fast estimate chooses the candidates, whose distances are exact."""
        tokens = self._tokens()
        rows = states.to(tokens.device, torch.float32)
        n_kept = min(k + N_SPARE, len(tokens))
        if metric == "cosine":
            estimate = -F.normalize(rows, dim=1) @ F.normalize(tokens, dim=1).T
        else:
            estimate = tokens.square().sum(1) - 2 * rows @ tokens.T
        candidates = estimate.topk(n_kept, largest=False).indices
        near = tokens[candidates].double()
        if metric == "cosine":
            distances = 1 - F.cosine_similarity(near, rows.double()[:, None], dim=2)
        else:
            distances = (near - rows.double()[:, None]).norm(dim=2)
        order = distances.argsort(dim=1, stable=True)[:, :k]
        return distances.gather(1, order), candidates.gather(1, order)

    def _tokens(self) -> Float[Tensor, "vocab d_model"]:
        """The embedding module's output for each token, float32, on the embeddings' device."""
        if self._embeddings is None:
            self._embeddings = self._model.vocabulary()
        return self._embeddings


class _DecoderOutput(BaseModelOutputWithPast):  # type: ignore[misc]
    """Output of any decoder class: fields other than the last hidden state are None."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


@contextlib.contextmanager
def _replaced_decoder(module: Any, hidden: Tensor) -> Iterator[None]:
    """While entered, the decoder inside ``module`` runs nothing and returns ``hidden`` as its last hidden state."""
    decoder = module.get_decoder() if hasattr(module, "get_decoder") else None
    if decoder is None or decoder is module:
        decoder = getattr(module, module.base_model_prefix)
    before = decoder.__dict__.get("forward")
    decoder.forward = lambda *_, **__: _DecoderOutput(last_hidden_state=hidden)
    try:
        yield
    finally:
        del decoder.forward
        if before is not None:
            decoder.forward = before
