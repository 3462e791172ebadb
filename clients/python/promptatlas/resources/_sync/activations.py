# Generated from promptatlas.resources._async.activations by generate_sync.py: edit that module, then run `make generate`.
"""``client.activations``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from promptatlas.resources._async.activations import CaptureOptions, DivergenceOptions, Inputs
from promptatlas.resources.options import PromptChoice, model_request
from promptatlas.results.tensors.activations import ActivationCache
from promptatlas.results.tensors.tensor_file import TensorFile
from promptatlas.transport._sync.sender import Sender
from promptatlas.transport.call import SAFETENSORS, Call, nothing, reader
from promptatlas.types import ActivationRequest, DivergenceRequest, DivergenceResponse, EstimateResponse

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Activations:
    """Activations of a forward pass."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    def get(
        self,
        *,
        model: str,
        inputs: Inputs,
        sites: Sequence[str],
        to: str | Path | None = None,
        **options: Unpack[CaptureOptions],
    ) -> ActivationCache:
        """Reads the tensors at sites during the forward pass over inputs.

        Args:
            inputs: texts, or lists of token ids.
            sites: e.g. ``resid_post``, a TransformerLens name or a module path.
            to: file to keep the result in. None: a temporary file, deleted when the result is closed.
            options: see ``promptatlas.types.ActivationRequest``; ``interventions`` with their arrays;
                ``timeout_s``, ``request_id``.

        Raises:
            InvalidRequestError: a field is unknown or out of range; nothing was sent.
            TooLargeError: the result would exceed the server's limit; it suggests how to reduce it.
            PromptAtlasError: see ``promptatlas.errors``.
        """
        request = model_request(
            ActivationRequest, given={"model": model, "inputs": inputs, "sites": sites}, options=options
        )
        call = Call(method="POST", path="/v1/activations", parse=nothing, accept=SAFETENSORS, **request)
        received = self._sender.fetch(call, None if to is None else Path(to))
        file = TensorFile(received.path, temporary=received.temporary)
        return ActivationCache(file, request_id=received.request_id)

    def estimate(
        self, *, model: str, inputs: Inputs, sites: Sequence[str], **options: Unpack[CaptureOptions]
    ) -> EstimateResponse:
        """The cost of ``get`` with the same arguments, without running the model."""
        request = model_request(
            ActivationRequest, given={"model": model, "inputs": inputs, "sites": sites}, options=options
        )
        path, parse = "/v1/activations/estimate", reader(EstimateResponse)
        call = Call(method="POST", path=path, parse=parse, **request)
        return self._sender.send(call)

    def divergence(
        self,
        *,
        model: str,
        inputs: Inputs,
        prompt_ref: PromptChoice | None,
        against: PromptChoice | None,
        **options: Unpack[DivergenceOptions],
    ) -> DivergenceResponse:
        """The logit lens under ``prompt_ref`` (p) compared with that under ``against`` (q): KL(p ‖ q) at every layer and token.

        Args:
            inputs: texts, or lists of token ids.
            prompt_ref, against: prompts; None is the model without a prompt.
            options: ``sites`` (default: ``resid_post``), ``layers``, ``positions``; ``timeout_s``, ``request_id``.

        Returns:
            ``kl``: by tensor name, nats of each row.
        """
        given = {"model": model, "inputs": inputs, "prompt_ref": prompt_ref, "against": against}
        request = model_request(DivergenceRequest, given=given, options=options)
        path, parse = "/v1/activations/divergence", reader(DivergenceResponse)
        return self._sender.send(Call(method="POST", path=path, parse=parse, **request))
