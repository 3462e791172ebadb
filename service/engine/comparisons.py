"""Comparison of states by what the logit lens reads in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from service.engine.requests import Lens, Tensors
from service.errors import InvalidRequest

if TYPE_CHECKING:
    from torch import Tensor

    from service.engine.activations.logit_lens import TokenRanker
else:
    # The API process uses the request and must not load torch.
    Tensor = Any


@dataclass(frozen=True, kw_only=True)
class LensDivergence:
    """Divergence of the logit lens at ``others`` from that at ``states``, both `[rows, d_model]`, float32."""

    request_id: str
    states: Tensor
    others: Tensor


def compare(request: LensDivergence, *, ranker: TokenRanker, d_model: int) -> Tensors:
    """``kl`` `[rows]` in nats, see :meth:`TokenRanker.divergences`. Runs the head of the model only.

    Raises:
        InvalidRequest: the states have another width, or the model has no logit lens.
    """
    for states in (request.states, request.others):
        if states.ndim != 2 or states.shape[1] != d_model:
            found = list(states.shape[1:])
            raise InvalidRequest(f"expected states of width {d_model}, got rows of shape {found}.", loc=("sites",))
    ranker.require(Lens(k=1))
    return Tensors(tensors={"kl": ranker.divergences(request.states, request.others)}, metadata={})
