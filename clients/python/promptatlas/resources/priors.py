"""``client.priors``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from promptatlas.calls import runs as calls
from promptatlas.calls.call import CallOptions
from promptatlas.calls.runs import Spec
from promptatlas.results.runs.run import AsyncRun, Run
from promptatlas.transport.sender import AsyncSender, Sender

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Priors:
    """What prompts are drawn from before they are tuned."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    def sample(
        self,
        *,
        model: str,
        prior: Spec,
        n: int = 20,
        seed: int = 0,
        layer: int | None = None,
        **options: Unpack[CallOptions],
    ) -> Run:
        """Draws vectors, to look at before tuning; ``.vectors()`` of the run are the draw.

        Args:
            prior: e.g. ``{"kind": "gaussian", "fit": {"embeddings": "vocabulary"}}``.
            n: how many vectors.
            layer: the layer that they would go to; None: the token embeddings.

        Raises:
            InvalidRequestError: it cannot work; ``errors`` says where.
        """
        fields = {"model": model, "prior": prior, "n": n, "seed": seed, "layer": layer}
        return Run(self._sender.send(calls.sample(fields, options)), sender=self._sender)


class AsyncPriors:
    """What prompts are drawn from before they are tuned; see Priors."""

    def __init__(self, sender: AsyncSender) -> None:
        self._sender = sender

    async def sample(
        self,
        *,
        model: str,
        prior: Spec,
        n: int = 20,
        seed: int = 0,
        layer: int | None = None,
        **options: Unpack[CallOptions],
    ) -> AsyncRun:
        """As Priors.sample."""
        fields = {"model": model, "prior": prior, "n": n, "seed": seed, "layer": layer}
        return AsyncRun(await self._sender.send(calls.sample(fields, options)), sender=self._sender)
