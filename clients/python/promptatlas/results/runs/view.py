"""What is known of a run, and what its files mean: the part that needs no server."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from promptatlas.errors import RunCancelledError, RunFailedError, UnexpectedAnswerError
from promptatlas.results.tensors.tensor_file import TensorFile
from promptatlas.transport.files import Received
from promptatlas.types import Progress, RunArtifact, RunStatus
from promptatlas.types import Run as RunInfo

ENDED: tuple[RunStatus, ...] = ("succeeded", "failed", "cancelled")
DRAW, VECTORS = "draw.safetensors", "vectors"
EVALUATION = "evaluation.jsonl"


class RunView:
    """A run as it was when last looked at; ``refresh`` looks again. info: all that the server told."""

    def __init__(self, info: RunInfo) -> None:
        self.info = info

    @property
    def id(self) -> str:
        """What the server knows it by."""
        return self.info.id

    @property
    def kind(self) -> str:
        """What kind of work it is: ``tune``, ``evaluate``, ``sample``, …"""
        return self.info.kind

    @property
    def name(self) -> str | None:
        """Its name for people."""
        return self.info.name

    @property
    def spec(self) -> dict[str, Any]:
        """What it was asked to do."""
        return self.info.spec

    @property
    def status(self) -> RunStatus:
        """``queued``, ``running``, ``succeeded``, ``failed`` or ``cancelled``."""
        return self.info.status

    @property
    def ended(self) -> bool:
        """Nothing more happens to it, unless it is resumed."""
        return self.info.status in ENDED

    @property
    def progress(self) -> Progress:
        """Step, total, and predicted seconds left."""
        return self.info.progress

    @property
    def outcome(self) -> dict[str, float]:
        """What it came to, by name, e.g. ``test/exact_match``; ``metrics()`` has the way there."""
        return self.info.metrics

    @property
    def error(self) -> str | None:
        """Why it failed."""
        return self.info.error

    @property
    def prompts(self) -> list[str]:
        """References of the prompt versions that it has made."""
        return self.info.prompts

    @property
    def artifacts(self) -> list[RunArtifact]:
        """Files that it has left."""
        return self.info.artifacts

    def __repr__(self) -> str:
        return f"{type(self).__name__}(id={self.id!r}, kind={self.kind!r}, status={self.status!r})"


def require_success(info: RunInfo) -> None:
    """Raises RunFailedError, or RunCancelledError, unless the run succeeded."""
    if info.status == "cancelled":
        raise RunCancelledError(info.id)
    if info.status == "failed":
        raise RunFailedError(info.id, reason=info.error or "no reason given", attempts=info.attempts)


def still(info: RunInfo, timeout_s: float | None) -> str:
    """What to say of a run that was waited for in vain."""
    of = f" of {info.progress.total}" if info.progress.total is not None else ""
    return f"run {info.id} is still {info.status} (step {info.progress.step}{of}) after {timeout_s:g} s; it goes on"


def require_kind(info: RunInfo, kind: str, *, what: str) -> None:
    """Raises ValueError unless the run is of this kind."""
    if info.kind != kind:
        raise ValueError(f"{what}: expected a run of kind {kind!r}, got one of kind {info.kind!r}")


def drawn_vectors(received: Received) -> npt.NDArray[np.float32]:
    """The draw `[n, d_model]` in a file that came."""
    file = TensorFile(received.path, temporary=received.temporary)
    try:
        if VECTORS not in file.names:
            raise UnexpectedAnswerError(f"expected a tensor {VECTORS!r} in {DRAW}, got {file.names}")
        return np.array(file.array(VECTORS), np.float32)
    finally:
        file.close()


def json_lines(content: bytes) -> list[dict[str, Any]]:
    """The objects of a file that has one a line."""
    try:
        return [json.loads(line) for line in content.splitlines() if line.strip()]
    except ValueError as error:
        raise UnexpectedAnswerError(f"expected a JSON object on each line: {error}") from error


def file_of(path: str, to: str | Path) -> Path:
    """Where an artifact is saved: ``to``, or under its own name in the folder ``to``."""
    target = Path(to)
    return target / PurePosixPath(path).name if target.is_dir() else target


def files_under(artifacts: Sequence[RunArtifact], folder: Path) -> list[tuple[str, Path]]:
    """Where all artifacts are saved, under their own paths.

    Raises:
        UnexpectedAnswerError: a path leads out of the folder.
    """
    for artifact in artifacts:
        path = PurePosixPath(artifact.path)
        if path.is_absolute() or ".." in path.parts or "\\" in artifact.path:
            raise UnexpectedAnswerError(f"expected paths inside the run's folder, got {artifact.path!r}")
    return [(artifact.path, folder.joinpath(*PurePosixPath(artifact.path).parts)) for artifact in artifacts]
