"""Artifacts of a run: where they are saved, and how they are parsed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from promptatlas.errors import UnexpectedAnswerError
from promptatlas.results.tensors.tensor_file import TensorFile
from promptatlas.transport.files import Received
from promptatlas.types import RunArtifact

DRAW, VECTORS = "draw.safetensors", "vectors"
EVALUATION = "evaluation.jsonl"


def drawn_vectors(received: Received) -> npt.NDArray[np.float32]:
    """The sample `[n, d_model]` in a file. Raises UnexpectedAnswerError if the tensor is missing."""
    file = TensorFile(received.path, temporary=received.temporary)
    try:
        if VECTORS not in file.names:
            raise UnexpectedAnswerError(f"expected a tensor {VECTORS!r} in {DRAW}, got {file.names}")
        return np.array(file.array(VECTORS), np.float32)
    finally:
        file.close()


def json_lines(content: bytes) -> list[dict[str, Any]]:
    """The objects of a file in the format JSON Lines. Raises UnexpectedAnswerError."""
    try:
        return [json.loads(line) for line in content.splitlines() if line.strip()]
    except ValueError as error:
        raise UnexpectedAnswerError(f"expected a JSON object on each line: {error}") from error


def file_of(path: str, *, to: str | Path) -> Path:
    """Where one artifact is saved: ``to``, or under its own name if ``to`` is a folder."""
    target = Path(to)
    return target / PurePosixPath(path).name if target.is_dir() else target


def files_under(artifacts: Sequence[RunArtifact], *, folder: Path) -> list[tuple[str, Path]]:
    """The path of each artifact, and where it is saved under ``folder``.

    Raises:
        UnexpectedAnswerError: a path leads out of the folder.
    """
    for artifact in artifacts:
        path = PurePosixPath(artifact.path)
        if path.is_absolute() or ".." in path.parts or "\\" in artifact.path:
            raise UnexpectedAnswerError(f"expected paths inside the run's folder, got {artifact.path!r}")
    return [(artifact.path, folder.joinpath(*PurePosixPath(artifact.path).parts)) for artifact in artifacts]
