"""``client.priors``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from promptatlas.resources._async.run import AsyncRun
from promptatlas.resources.encoding import checked, json_body
from promptatlas.resources.options import Spec
from promptatlas.transport._async.sender import AsyncSender
from promptatlas.transport.call import Call, CallOptions, options_of, reader
from promptatlas.types import Run as RunInfo
from promptatlas.types import SampleBody

if TYPE_CHECKING:
    from typing_extensions import Unpack


class AsyncPriors:
    """Priors: distributions that prompts are initialised from."""

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
        """Samples vectors from a prior; ``.vectors()`` of the run returns them.

        Args:
            prior: e.g. ``{"kind": "gaussian", "fit": {"embeddings": "vocabulary"}}``.
            n: number of vectors.
            layer: the layer whose input the vectors are for; None: the token embeddings.

        Raises:
            InvalidRequestError: the spec is invalid; ``errors`` has the locations.
        """
        fields = {"model": model, "prior": prior, "n": n, "seed": seed, "layer": layer}
        body = json_body(checked(SampleBody, fields))
        common, parse = options_of(options, creates=True), reader(RunInfo)
        call = Call(method="POST", path="/v1/priors/sample", parse=parse, body=body, **common)
        info = await self._sender.send(call)
        return AsyncRun(info, sender=self._sender)
