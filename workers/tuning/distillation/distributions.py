"""Next-token distributions of a teacher, as losses need them, and divergences of a student from them.

A distribution is over the whole vocabulary, or over the k most probable tokens and one more outcome, *the rest*, which has the
probability of all other tokens together. A divergence over these k + 1 outcomes is a lower bound of the divergence over the
vocabulary (data processing inequality), and it is 0 only if the student gives the k tokens the teacher's probabilities.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from service.engine.shapes import Float, Int, Tensor

Divergence = Literal["kl", "reverse_kl", "jsd"]

NEGATIVE_INFINITY = float("-inf")


@dataclass(frozen=True)
class View:
    """What of a teacher's logits a loss needs. top_k: None is the whole vocabulary."""

    temperature: float = 1.0
    top_k: int | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Distributions:
    """Distributions at n tokens, in nats.

    Attributes:
        log_probs: `[n, k]`, or `[n, vocab]` without ``ids``; −∞ where a row has fewer tokens.
        ids: `[n, k]`, −1 where a row has fewer tokens; None for the whole vocabulary.
        log_rest: `[n]`, of all other tokens together; −∞ if there are none.
    """

    log_probs: Float[Tensor, "n k"]
    ids: Int[Tensor, "n k"] | None = None
    log_rest: Float[Tensor, " n"] | None = None

    @property
    def n_bytes(self) -> int:
        """Memory of all tensors."""
        tensors = (self.log_probs, self.ids, self.log_rest)
        return sum(t.numel() * t.element_size() for t in tensors if t is not None)

    def at(self, rows: Int[Tensor, " m"]) -> Distributions:
        """Some rows, on the device of ``rows``."""
        index = rows.to(self.log_probs.device)
        return Distributions(
            log_probs=self.log_probs[index].to(rows.device),
            ids=None if self.ids is None else self.ids[index].to(rows.device),
            log_rest=None if self.log_rest is None else self.log_rest[index].to(rows.device),
        )


def joined(parts: Sequence[Distributions]) -> Distributions:
    """Distributions one after the other; rows of fewer tokens are filled up."""
    if parts[0].ids is None:
        return Distributions(log_probs=torch.cat([part.log_probs for part in parts]))
    k = max(part.log_probs.shape[1] for part in parts)
    rests = [part.log_rest for part in parts if part.log_rest is not None]
    ids = [_widened(part.ids, k=k, value=-1) for part in parts if part.ids is not None]
    return Distributions(
        log_probs=torch.cat([_widened(part.log_probs, k=k, value=NEGATIVE_INFINITY) for part in parts]),
        ids=torch.cat(ids),
        log_rest=torch.cat(rests),
    )


def distributions_of(logits: Float[Tensor, "n vocab"], *, view: View) -> Distributions:
    """The view of a teacher's logits, in float32."""
    log_probs = torch.log_softmax(logits.float() / view.temperature, -1)
    if view.top_k is None or view.top_k >= log_probs.shape[1]:
        return Distributions(log_probs=log_probs)
    top = log_probs.topk(view.top_k, -1)
    others = log_probs.scatter(1, top.indices, NEGATIVE_INFINITY)
    return Distributions(log_probs=top.values, ids=top.indices, log_rest=torch.logsumexp(others, -1))


def divergence(
    kind: Divergence, log_q: Float[Tensor, "n vocab"], teacher: Distributions, *, rest: bool = True
) -> Float[Tensor, " n"]:
    """Divergence of each row, in nats, differentiable in ``log_q``.

    Args:
        log_q: the student's log-probabilities of all tokens, at the temperature of the teacher's.
        rest: whether all other tokens are one more outcome. False: −Σ p·log q over the teacher's top tokens.

    Rows whose teacher excludes all tokens but its own have no finite reverse KL; they count as 0 there.
    """
    if not rest:
        log_p, log_q = _on_top(log_q, teacher)
        return -(log_p.exp() * log_q).sum(-1)
    log_p, log_q, present = _outcomes(log_q, teacher)
    p, q = log_p.exp(), log_q.exp().masked_fill(~present, 0.0)
    is_excluded = log_p.isinf()
    finite_log_p = log_p.masked_fill(is_excluded, 0.0)
    if kind == "kl":
        return (p * (finite_log_p - log_q)).sum(-1)
    if kind == "reverse_kl":
        return (q * (log_q - finite_log_p)).sum(-1).masked_fill((is_excluded & present).any(-1), 0.0)
    log_middle = torch.logaddexp(log_p, log_q) - math.log(2)
    return 0.5 * ((p * (finite_log_p - log_middle)).sum(-1) + (q * (log_q - log_middle)).sum(-1))


def _outcomes(log_q: Tensor, teacher: Distributions) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probabilities of all outcomes under teacher and student, and which outcomes there are: `[n, outcomes]` each.

    The student's value of an outcome that is not there is 0, so that its gradient is finite.
    """
    if teacher.ids is None or teacher.log_rest is None:
        return teacher.log_probs, log_q, torch.ones_like(log_q, dtype=torch.bool)
    valid = teacher.ids >= 0
    # A place without a token repeats the row's first token, which is not counted again.
    ids = torch.where(valid, teacher.ids, teacher.ids[:, :1]).long()
    log_rest = torch.logsumexp(log_q.scatter(1, ids, NEGATIVE_INFINITY), -1)
    log_top = log_q.gather(1, ids).masked_fill(~valid, 0.0)
    return (
        torch.cat([teacher.log_probs, teacher.log_rest[:, None]], -1),
        torch.cat([log_top, log_rest[:, None]], -1),
        torch.nn.functional.pad(valid, (0, 1), value=True),
    )


def _on_top(log_q: Tensor, teacher: Distributions) -> tuple[Tensor, Tensor]:
    if teacher.ids is None:
        return teacher.log_probs, log_q
    return teacher.log_probs, log_q.gather(1, teacher.ids.clamp(min=0).long())


def _widened(tensor: Tensor, *, k: int, value: float) -> Tensor:
    missing = k - tensor.shape[1]
    return tensor if missing == 0 else torch.nn.functional.pad(tensor, (0, missing), value=value)
