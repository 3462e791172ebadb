"""The result of ``activations.get``: a cache of tensors, which also accepts TransformerLens's names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt
import pydantic

from promptatlas.errors import UnexpectedAnswerError
from promptatlas.results.tensors.rows import OFFSETS, Rows
from promptatlas.results.tensors.tensor_file import TensorFile
from promptatlas.types import CaptureMetadata

if TYPE_CHECKING:
    from typing_extensions import Self

MetadataT = TypeVar("MetadataT", bound=CaptureMetadata)


class ActivationCache(Rows):
    """Tensors of all inputs, with rows in the order of the inputs. They are read from the file on access.

    It is a context manager, which deletes a temporary file on exit. Arrays read before stay valid.

    row_offsets: int64 ``[n_inputs + 1]``; the rows of input i are ``row_offsets[i]`` … ``row_offsets[i + 1] − 1``.
    metadata: model, revision, prompt, dtype, attention, versions.
    """

    def __init__(self, file: TensorFile, *, request_id: str | None = None) -> None:
        if OFFSETS not in file.names or "promptatlas" not in file.metadata:
            file.close()
            raise UnexpectedAnswerError(f"expected {OFFSETS} and metadata 'promptatlas', got other tensors")
        self.row_offsets: npt.NDArray[np.int64] = np.array(file.array(OFFSETS))
        super().__init__(file, start=0, offsets=self.row_offsets, first_input=0)
        self.metadata = self._metadata(file)
        self.request_id = request_id or self.metadata.request_id

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """A saved result."""
        return cls(TensorFile(Path(path), temporary=False))

    @property
    def path(self) -> Path:
        """Path of the file."""
        return self._file.path

    @property
    def n_inputs(self) -> int:
        """Number of inputs, or of trajectories."""
        return len(self.row_offsets) - 1

    def input(self, index: int) -> Rows:
        """The rows of one input; a negative index counts from the end."""
        first = self._index(index)
        offsets = self.row_offsets[first : first + 2]
        return Rows(self._file, start=int(offsets[0]), offsets=offsets, first_input=first)

    def inputs(self) -> Iterator[Rows]:
        """The rows of each input, in order."""
        return (self.input(index) for index in range(self.n_inputs))

    def save(self, path: str | Path) -> Path:
        """Saves the result to a safetensors file."""
        return self._file.copy_to(Path(path))

    def close(self) -> None:
        """Closes the result, and deletes the file if it is temporary."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(n_inputs={self.n_inputs}, n_rows={self.n_rows}, tensors={self.keys()})"

    def _index(self, index: int) -> int:
        if not -self.n_inputs <= index < self.n_inputs:
            raise IndexError(f"input: expected {-self.n_inputs} to {self.n_inputs - 1}, got {index}")
        return index % self.n_inputs

    def _metadata(self, file: TensorFile) -> CaptureMetadata:
        return read_metadata(CaptureMetadata, file)


def read_metadata(model: type[MetadataT], file: TensorFile) -> MetadataT:
    """The validated JSON of the header. Raises UnexpectedAnswerError."""
    try:
        return model.model_validate_json(file.metadata["promptatlas"])
    except pydantic.ValidationError as error:
        file.close()
        raise UnexpectedAnswerError(f"expected {model.__name__} in the header of the result: {error}") from error
