# Generated from promptatlas.resources._async.trajectories by generate_sync.py: edit that module, then run `make generate`.
"""``client.trajectories``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from promptatlas.resources._async.trajectories import TrajectoryOptions
from promptatlas.resources.options import model_request
from promptatlas.results.tensors.tensor_file import TensorFile
from promptatlas.results.tensors.trajectories import Trajectories
from promptatlas.transport._sync.sender import Sender
from promptatlas.transport.call import SAFETENSORS, Call, nothing
from promptatlas.types import TrajectoryRequest

if TYPE_CHECKING:
    from typing_extensions import Unpack


class TrajectoriesResource:
    """Activations of every token of a generation."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    def create(
        self,
        *,
        model: str,
        inputs: Sequence[str | Sequence[int] | npt.NDArray[Any]],
        sites: Sequence[str],
        to: str | Path | None = None,
        **options: Unpack[TrajectoryOptions],
    ) -> Trajectories:
        """Generates from inputs and records the activations: ``n`` trajectories for each input, input by input.

        Args:
            inputs: texts, or lists of token ids.
            sites: e.g. ``resid_post``, a TransformerLens name or a module path.
            to: file to keep the result in. None: a temporary file, deleted when the result is closed.
            options: see ``promptatlas.types.TrajectoryRequest``; ``timeout_s``, ``request_id``.

        Raises:
            InvalidRequestError: a field is unknown or out of range; nothing was sent.
            PromptAtlasError: see ``promptatlas.errors``.
        """
        request = model_request(
            TrajectoryRequest, given={"model": model, "inputs": inputs, "sites": sites}, options=options
        )
        call = Call(method="POST", path="/v1/trajectories", parse=nothing, accept=SAFETENSORS, **request)
        received = self._sender.fetch(call, None if to is None else Path(to))
        file = TensorFile(received.path, temporary=received.temporary)
        return Trajectories(file, request_id=received.request_id)
