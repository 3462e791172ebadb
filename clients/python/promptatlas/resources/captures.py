"""``client.activations`` and ``client.trajectories``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from promptatlas.calls import running
from promptatlas.calls.running import CaptureOptions, TrajectoryOptions
from promptatlas.results.tensors.activations import ActivationCache
from promptatlas.results.tensors.tensor_file import TensorFile
from promptatlas.results.tensors.trajectories import Trajectories
from promptatlas.transport.files import Received
from promptatlas.transport.sender import AsyncSender, Sender
from promptatlas.types import EstimateResponse

if TYPE_CHECKING:
    from typing_extensions import Unpack

Inputs = Sequence[str | Sequence[int] | npt.NDArray[Any]]


def _path(to: str | Path | None) -> Path | None:
    return None if to is None else Path(to)


def _cache(received: Received) -> ActivationCache:
    file = TensorFile(received.path, temporary=received.temporary)
    return ActivationCache(file, request_id=received.request_id)


def _trajectories(received: Received) -> Trajectories:
    file = TensorFile(received.path, temporary=received.temporary)
    return Trajectories(file, request_id=received.request_id)


class Activations:
    """Tensors out of the middle of the model."""

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
        """Reads tensors at sites while the model reads inputs.

        Args:
            inputs: texts, or lists of token ids.
            sites: e.g. ``resid_post``, a TransformerLens name or a module path.
            to: keep the result in this file; else it lives in a temporary one until it is closed.
            options: see ``promptatlas.types.ActivationRequest``; ``interventions`` with their arrays;
                ``timeout_s``, ``request_id``.

        Raises:
            InvalidRequestError: a field is unknown or out of its bounds; nothing was sent.
            TooLargeError: the result would be over the server's limit; it says how to shrink it.
            PromptAtlasError: see ``promptatlas.errors``.
        """
        given = {"model": model, "inputs": inputs, "sites": sites}
        return _cache(self._sender.fetch(running.activations(given, options), _path(to)))

    def estimate(
        self, *, model: str, inputs: Inputs, sites: Sequence[str], **options: Unpack[CaptureOptions]
    ) -> EstimateResponse:
        """What ``get`` with the same arguments would cost; nothing is run."""
        given = {"model": model, "inputs": inputs, "sites": sites}
        return self._sender.send(running.estimate(given, options))


class AsyncActivations:
    """Tensors out of the middle of the model; see Activations."""

    def __init__(self, sender: AsyncSender) -> None:
        self._sender = sender

    async def get(
        self,
        *,
        model: str,
        inputs: Inputs,
        sites: Sequence[str],
        to: str | Path | None = None,
        **options: Unpack[CaptureOptions],
    ) -> ActivationCache:
        """As Activations.get."""
        given = {"model": model, "inputs": inputs, "sites": sites}
        return _cache(await self._sender.fetch(running.activations(given, options), _path(to)))

    async def estimate(
        self, *, model: str, inputs: Inputs, sites: Sequence[str], **options: Unpack[CaptureOptions]
    ) -> EstimateResponse:
        """As Activations.estimate."""
        given = {"model": model, "inputs": inputs, "sites": sites}
        return await self._sender.send(running.estimate(given, options))


class TrajectoriesResource:
    """States of every token of generations."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    def create(
        self,
        *,
        model: str,
        inputs: Inputs,
        sites: Sequence[str],
        to: str | Path | None = None,
        **options: Unpack[TrajectoryOptions],
    ) -> Trajectories:
        """Generates from inputs and keeps the states on the way: ``n`` trajectories an input, input by input.

        Args:
            to: keep the result in this file; else it lives in a temporary one until it is closed.
            options: see ``promptatlas.types.TrajectoryRequest``; ``timeout_s``, ``request_id``.

        Raises:
            InvalidRequestError: a field is unknown or out of its bounds; nothing was sent.
            PromptAtlasError: see ``promptatlas.errors``.
        """
        given = {"model": model, "inputs": inputs, "sites": sites}
        return _trajectories(self._sender.fetch(running.trajectories(given, options), _path(to)))


class AsyncTrajectoriesResource:
    """States of every token of generations; see TrajectoriesResource."""

    def __init__(self, sender: AsyncSender) -> None:
        self._sender = sender

    async def create(
        self,
        *,
        model: str,
        inputs: Inputs,
        sites: Sequence[str],
        to: str | Path | None = None,
        **options: Unpack[TrajectoryOptions],
    ) -> Trajectories:
        """As TrajectoriesResource.create."""
        given = {"model": model, "inputs": inputs, "sites": sites}
        return _trajectories(await self._sender.fetch(running.trajectories(given, options), _path(to)))
