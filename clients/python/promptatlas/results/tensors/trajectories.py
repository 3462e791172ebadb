"""The result of ``trajectories.create``: activations of every token of every generation."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from promptatlas.errors import UnexpectedAnswerError
from promptatlas.results.tensors.activations import ActivationCache, read_metadata
from promptatlas.results.tensors.rows import Rows
from promptatlas.results.tensors.tensor_file import Array, TensorFile
from promptatlas.types import FinishReason, TrajectoryInfo, TrajectoryMetadata


class TrajectoryRows(Rows):
    """Rows of generations.

    A row has the activations at the position of its token. Those that predicted the token are one row earlier.
    """

    @property
    def generated(self) -> npt.NDArray[np.bool_] | None:
        """``[n_rows]``: whether the token was generated. None if rows are not tokens."""
        return self._row_tensor("generated")

    @property
    def logprobs(self) -> npt.NDArray[np.float32] | None:
        """``[n_rows]``, NaN for tokens of the input. None if rows are not tokens."""
        return self._row_tensor("logprobs")

    def _row_columns(self) -> dict[str, Array | None]:
        return {**super()._row_columns(), "generated": self.generated, "logprob": self.logprobs}


class Trajectory(TrajectoryRows):
    """One generation: its text, its finish reason, and its rows."""

    def __init__(
        self, file: TensorFile, *, offsets: npt.NDArray[np.int64], first_input: int, info: TrajectoryInfo
    ) -> None:
        super().__init__(file, start=int(offsets[0]), offsets=offsets, first_input=first_input)
        self.text: str = info.text
        self.finish_reason: FinishReason = info.finish_reason
        self.n_input: int = info.n_input
        self.n_generated: int = info.n_generated

    def __repr__(self) -> str:
        return f"Trajectory(text={self.text!r}, finish_reason={self.finish_reason!r}, n_rows={self.n_rows})"


class Trajectories(TrajectoryRows, ActivationCache):
    """All generations, input by input. It is iterable; see ActivationCache for the rest."""

    metadata: TrajectoryMetadata

    def __init__(self, file: TensorFile, *, request_id: str | None = None) -> None:
        ActivationCache.__init__(self, file, request_id=request_id)
        if len(self.metadata.inputs) != self.n_inputs:
            file.close()
            raise UnexpectedAnswerError(
                f"expected metadata of {self.n_inputs} trajectories, got {len(self.metadata.inputs)}"
            )

    def input(self, index: int) -> Trajectory:
        """One generation; a negative index counts from the end."""
        first = self._index(index)
        offsets = self.row_offsets[first : first + 2]
        return Trajectory(self._file, offsets=offsets, first_input=first, info=self.metadata.inputs[first])

    def __iter__(self) -> Iterator[Trajectory]:
        return (self.input(index) for index in range(self.n_inputs))

    def __len__(self) -> int:
        return self.n_inputs

    def _metadata(self, file: TensorFile) -> TrajectoryMetadata:
        return read_metadata(TrajectoryMetadata, file)
