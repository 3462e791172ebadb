"""Which tokens a state stands for: those it would make likeliest next (logit lens), or those whose embeddings lie nearest.

The lens (nostalgebraist 2020) ends the model early: final norm, head, and whatever the model's class does behind its head.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch.nn import functional as F  # noqa: N812 (the name everybody uses)
from transformers.modeling_outputs import BaseModelOutputWithPast

from service.engine.attention.metadata import PackedMetadata, SequenceGroup
from service.engine.model.hooks import ForwardHooks
from service.engine.model.hosted_model import HostedModel
from service.engine.model.sites import Tap
from service.engine.model.startup_checks import TOLERANCE
from service.engine.requests import Lens, Nearest, Ranking
from service.engine.scheduling.detokenizer import Detokenizer
from service.engine.shapes import Float, Tensor
from service.errors import InvalidRequest

CHUNK_VALUES = 1 << 24
"""Numbers of the widest intermediate result: rows of the whole vocabulary, or of candidates for neighbours."""

N_SPARE = 8
"""Neighbours kept beyond those asked for, until exact distances have put them in order."""


class TokenRanker:
    """Ranks the vocabulary for states of one model. Ids and scores of a state come as ``[2, k]`` float32 on the CPU.

    Float32 holds ids exactly up to 2^24, more than any vocabulary has.
    """

    def __init__(self, model: HostedModel, *, detokenizer: Detokenizer | None) -> None:
        self._model = model
        self._detokenizer = detokenizer
        self._embeddings: Tensor | None = None
        self._lens_is_true: bool | None = None

    def require(self, how: Ranking) -> None:
        """Refuse what cannot be answered.

        Raises:
            InvalidRequest: ``k`` is over the vocabulary, or between the last block and the logits this model does more than
                final norm, head and scaling.
        """
        n_tokens = self._model.catalogue.vocab_size
        if how.k > n_tokens:
            raise InvalidRequest(f"asked for {how.k} tokens of a vocabulary of {n_tokens}.", loc=("reduce",))
        if isinstance(how, Lens):
            if self._lens_is_true is None:
                self._lens_is_true = self._check_lens()
            if not self._lens_is_true:
                raise InvalidRequest("this model's logits are not its final norm and head: no lens.", loc=("reduce",))

    def rank(self, states: Float[Tensor, "rows d_model"], how: Ranking) -> Float[Tensor, "rows 2 k"]:
        """Ids and scores of the ``k`` first tokens of each state: log-probabilities, or distances.

        A state of zeros, which is none, has ids −1 and no scores (NaN).
        """
        if not len(states):
            return torch.zeros(0, 2, how.k)
        width = max(self._model.catalogue.vocab_size, (how.k + N_SPARE) * self._model.d_model)
        size = max(1, CHUNK_VALUES // width)
        parts = [self._rank(part, how) for part in torch.split(states, size)]
        ranked = torch.cat(parts)
        ranked[~states.any(1).cpu()] = torch.tensor([[-1.0], [torch.nan]])
        return ranked

    def metadata(self, tensors: Mapping[str, Tensor], how: Ranking) -> dict[str, object]:
        """What a result says beside ids and scores: texts, and of neighbours what distances are to be compared with."""
        found: dict[str, object] = {"tokens": self._texts(tensors)}
        if isinstance(how, Nearest):
            tokens = self._tokens()
            found["vocabulary"] = {"n_tokens": len(tokens), "mean_norm": float(tokens.norm(dim=1).mean())}
        return found

    def _texts(self, tensors: Mapping[str, Tensor]) -> dict[str, str]:
        """The text of each token id, by the id as JSON writes keys."""
        if self._detokenizer is None:
            return {}
        ids = {i for name, ids in tensors.items() if name.endswith("_ids") for i in ids.flatten().tolist()}
        return {str(i): self._detokenizer.token_text(i) for i in sorted(ids) if i >= 0}

    def _rank(self, states: Tensor, how: Ranking) -> Tensor:
        if isinstance(how, Lens):
            scores, ids = self.logprobs(states).topk(how.k)
        else:
            scores, ids = self._nearest(states, how.k, metric=how.metric)
        return torch.stack([ids.float(), scores.float()], 1).cpu()

    # --- the lens ---

    def logprobs(self, states: Float[Tensor, "rows d_model"]) -> Float[Tensor, "rows vocab"]:
        """Log-probabilities of the next token if the residual stream ended at ``states``; float32."""
        return F.log_softmax(self._logits(states).float(), dim=-1)

    def _logits(self, states: Tensor) -> Tensor:
        model = self._model
        # Straight to the forwards: hooks of a request that runs must not see this.
        norm = model.architecture.final_norm
        weight = next(norm.parameters(), None)
        device = states.device if weight is None else weight.device
        hidden = norm.forward(states.to(device, model.dtype)[None])
        none = torch.zeros(1, 1, dtype=torch.long, device=model.device)
        with _decoder_says(model.module, hidden):
            out = model.module.forward(input_ids=none, use_cache=False, logits_to_keep=0)
        logits: Tensor = out.logits[0]
        return logits

    def _check_lens(self) -> bool:
        model, found = self._model, {}

        def keep(tap: Tap, rows: Tensor) -> None:
            found[tap] = rows.detach().clone()

        last = Tap("resid_post", model.architecture.n_layers - 1)
        n = min(4, model.n_positions)
        plan = PackedMetadata([SequenceGroup(0, 1, n, None)])
        ids = torch.arange(n) % model.catalogue.vocab_size
        with torch.inference_mode(), ForwardHooks(model.module, model.architecture, reads=(last,), on_read=keep):
            logits = model.forward(plan, ids=ids, positions=plan.positions, logits_at=torch.arange(n)).float()
            try:
                seen = self._logits(found[last]).float()
            except (RuntimeError, TypeError, AttributeError):  # a head of another width, a forward of another form
                return False
        return bool((seen - logits).abs().max() <= TOLERANCE[model.dtype] * logits.std())

    # --- neighbours ---

    def _nearest(self, states: Tensor, k: int, *, metric: str) -> tuple[Tensor, Tensor]:
        """Distances `[rows, k]` and ids, nearest first; exact for those that a fast estimate finds near."""
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
        """What the embedding module gives each token, float32, where the embeddings are."""
        if self._embeddings is None:
            ids = torch.arange(self._model.catalogue.vocab_size, device=self._model.device)
            parts = [
                self._model.architecture.embed.forward(part[None])[0].float() for part in torch.split(ids, 1 << 13)
            ]
            self._embeddings = torch.cat(parts)
        return self._embeddings


class _Said(BaseModelOutputWithPast):  # type: ignore[misc]
    """What a decoder gives, of whichever class: what it has beside its states is None here."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


@contextlib.contextmanager
def _decoder_says(module: Any, hidden: Tensor) -> Iterator[None]:
    """While entered, the decoder inside ``module`` runs nothing and gives ``hidden`` as its normed last states."""
    decoder = module.get_decoder() if hasattr(module, "get_decoder") else None
    if decoder is None or decoder is module:
        decoder = getattr(module, module.base_model_prefix)
    before = decoder.__dict__.get("forward")
    decoder.forward = lambda *_, **__: _Said(last_hidden_state=hidden)
    try:
        yield
    finally:
        del decoder.forward
        if before is not None:
            decoder.forward = before
