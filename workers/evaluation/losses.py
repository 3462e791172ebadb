"""Loss of targets under teacher forcing: −log p of each target token given everything before it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch.nn import functional as F  # noqa: N812 (the usual name)

from service.engine.activations.interventions import prompt_changes
from service.engine.attention.metadata import PackedMetadata, SequenceGroup
from service.engine.inputs import PromptChoice
from service.engine.model.hooks import Change, ForwardHooks
from service.engine.model.hosted_model import HostedModel
from service.engine.model.sites import Tap
from service.engine.prompts.cache import PromptCache
from service.engine.prompts.prompt import Prompt
from service.engine.requests import Limits
from service.engine.shapes import Float, Tensor
from workers.inputs.examples import EncodedExample

MAX_LOGITS_BYTES = 256 << 20
"""Limit for the logits of one forward, in float32."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """One example to score under the prompt ``label``."""

    label: str
    encoded: EncodedExample


@dataclass(frozen=True)
class Loss:
    """nats: sum over the target tokens, end of text included."""

    nats: float
    n_tokens: int

    @property
    def per_token(self) -> float:
        return self.nats / self.n_tokens


class LossScorer:
    """Computes losses of one model under a fixed set of prompts, many targets per forward, batch-invariant.

    Args:
        prompts: By label; None is the bare model.
        limits: Tokens per forward, and memory for compiled prompts.
        check: Called before every forward; its exceptions propagate.
    """

    def __init__(
        self,
        model: HostedModel,
        *,
        prompts: Mapping[str, Prompt | None],
        limits: Limits,
        check: Callable[[], None],
    ) -> None:
        self._model = model
        self._prompts = prompts
        self._max_tokens = limits.max_step_tokens
        self._max_logits = max(1, MAX_LOGITS_BYTES // (4 * model.catalogue.vocab_size))
        self._check = check
        self._compiled = PromptCache(model, load=self._load, max_bytes=limits.prompt_cache_bytes)

    @torch.inference_mode()
    def losses(self, targets: Sequence[Target]) -> list[Loss]:
        """Losses in the order of ``targets``; NaN or infinite if the model's logits are."""
        found: dict[int, Loss] = {}
        order = sorted(range(len(targets)), key=lambda i: (targets[i].encoded.length, targets[i].label, i))
        for pack in self._packs(order, targets):
            self._check()
            found.update(zip(pack, self._score([targets[i] for i in pack]), strict=True))
        return [found[i] for i in range(len(targets))]

    def _packs(self, order: Sequence[int], targets: Sequence[Target]) -> Iterator[list[int]]:
        """Consecutive parts of ``order`` that fit one forward; a target that exceeds the limits is alone in its part."""
        pack: list[int] = []
        n_tokens = n_logits = 0
        for i in order:
            length, n_predicted = targets[i].encoded.length, len(targets[i].encoded.target_ids)
            if pack and (n_tokens + length > self._max_tokens or n_logits + n_predicted > self._max_logits):
                yield pack
                pack, n_tokens, n_logits = [], 0, 0
            pack.append(i)
            n_tokens, n_logits = n_tokens + length, n_logits + n_predicted
        if pack:
            yield pack

    @torch.inference_mode()
    def logits(self, targets: Sequence[Target]) -> list[Float[Tensor, "tokens vocab"]]:
        """Logits that each target token is predicted from, in the order of ``targets``, float32."""
        found: dict[int, Tensor] = {}
        for pack in self._packs(range(len(targets)), targets):
            self._check()
            chosen = [targets[i] for i in pack]
            sizes = [len(target.encoded.target_ids) for target in chosen]
            found.update(zip(pack, torch.split(self._logits(chosen).float(), sizes), strict=True))
        return [found[i] for i in range(len(targets))]

    def _score(self, targets: Sequence[Target]) -> list[Loss]:
        logits = self._logits(targets)
        target_ids = torch.tensor([token for target in targets for token in target.encoded.target_ids])
        nats = _nats(logits, target_ids.to(logits.device))
        parts = torch.split(nats, [len(target.encoded.target_ids) for target in targets])
        return [Loss(float(part.sum()), len(part)) for part in parts]

    def _logits(self, targets: Sequence[Target]) -> Float[Tensor, "tokens vocab"]:
        # The last target token is predicted only, so it is not read.
        sequences = [(*target.encoded.input_ids, *target.encoded.target_ids[:-1]) for target in targets]
        offsets = [0, *torch.tensor([len(s) for s in sequences]).cumsum(0).tolist()]
        groups, changes = self._groups(targets, offsets)
        metadata = PackedMetadata(groups)
        model = self._model
        positions = [_predicting_positions(t, offset) for t, offset in zip(targets, offsets[:-1], strict=True)]
        with ForwardHooks(model.module, model.architecture, reads=(), on_read=_no_read, changes=changes):
            return model.forward(
                metadata,
                ids=torch.tensor([token for sequence in sequences for token in sequence]),
                positions=metadata.positions,
                logits_at=torch.cat(positions),
            )

    def _groups(
        self, targets: Sequence[Target], offsets: Sequence[int]
    ) -> tuple[list[SequenceGroup], dict[Tap, list[Change]]]:
        """Targets of equal length under one prompt, and what their prompts change."""
        groups: list[SequenceGroup] = []
        spans: list[tuple[int, int, Mapping[Tap, Tensor]]] = []
        pairs = zip(targets, offsets[:-1], strict=True)
        for (length, label), members in groupby(pairs, key=lambda pair: (pair[0].encoded.length, pair[0].label)):
            same = list(members)
            loaded = None if self._prompts[label] is None else self._compiled.get(PromptChoice(parts=((label, 1.0),)))
            groups.append(SequenceGroup(same[0][1], len(same), length, None if loaded is None else loaded.compiled))
            if loaded is not None:
                spans.append((groups[-1].offset, groups[-1].n_tokens, loaded.additions))
        return groups, prompt_changes(spans)

    def _load(self, label: str) -> Prompt:
        prompt = self._prompts[label]
        assert prompt is not None
        return prompt


def _no_read(tap: Tap, states: Tensor) -> None:
    return None


def _predicting_positions(target: Target, offset: int) -> Tensor:
    """Packed positions that predict a target token: the last input token and all target tokens but the last."""
    first = offset + len(target.encoded.input_ids) - 1
    return torch.arange(first, first + len(target.encoded.target_ids))


def _nats(logits: Float[Tensor, "tokens vocab"], target_ids: Tensor) -> Float[Tensor, " tokens"]:
    """−log p of each target token, float64 on the CPU so that sums hardly depend on their order."""
    return F.cross_entropy(logits.float(), target_ids, reduction="none").cpu().double()
