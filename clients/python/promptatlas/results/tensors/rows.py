"""Rows of a result: their tensors, and the tokens they belong to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from promptatlas.results.tensors.frames import frame
from promptatlas.results.tensors.names import Key, canonical
from promptatlas.results.tensors.tensor_file import Array, TensorFile

if TYPE_CHECKING:
    import pandas
    import torch

# Tensors that describe rows, besides the requested ones.
ROW_TENSORS = ("token_ids", "positions", "generated", "logprobs")
OFFSETS = "row_offsets"


class Rows:
    """A view of consecutive rows of a result. Tensors are read on access.

    ``rows["resid_post", 3]``, ``rows["resid_post.3"]`` and ``rows["blocks.3.hook_resid_post"]`` are the same tensor.
    """

    def __init__(self, file: TensorFile, *, start: int, offsets: npt.NDArray[np.int64], first_input: int) -> None:
        self._file = file
        self._offsets = offsets
        self._first_input = first_input
        self._rows = slice(start, start + int(offsets[-1] - offsets[0]))

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return self._rows.stop - self._rows.start

    @property
    def token_ids(self) -> npt.NDArray[np.int64] | None:
        """``[n_rows]``, −1 at virtual positions. None if rows are not tokens (``reduce="mean"``)."""
        return self._row_tensor("token_ids")

    @property
    def positions(self) -> npt.NDArray[np.int32] | None:
        """``[n_rows]``, counted from the first token of the text; virtual positions are negative. None if rows are not tokens."""
        return self._row_tensor("positions")

    def keys(self) -> list[str]:
        """Names of the requested tensors."""
        return [name for name in self._file.names if name != OFFSETS and name not in ROW_TENSORS]

    def __contains__(self, key: object) -> bool:
        return isinstance(key, (str, tuple)) and canonical(key, names=self.keys()) in self.keys()

    def __getitem__(self, key: Key) -> Array:
        """``[n_rows, …]``, read-only; float32 for bfloat16 (exact).

        Raises:
            KeyError: there is no such tensor; the message lists the existing ones.
        """
        return self._file.array(self._name(key), rows=self._rows)

    def shape(self, key: Key) -> tuple[int, ...]:
        """The shape of a tensor, without reading it."""
        return (self.n_rows, *self._file.shape(self._name(key))[1:])

    @overload
    def torch(self, key: Key) -> torch.Tensor: ...
    @overload
    def torch(self, key: None = None) -> dict[str, torch.Tensor]: ...
    def torch(self, key: Key | None = None) -> torch.Tensor | dict[str, torch.Tensor]:
        """A torch tensor in the dtype of the file; without a key, all of them by name. Requires torch."""
        if key is None:
            return {name: self._file.tensor(name, rows=self._rows) for name in self.keys()}
        return self._file.tensor(self._name(key), rows=self._rows)

    def pandas(self, *keys: Key) -> pandas.DataFrame:
        """A frame with ``input``, ``position``, ``token_id`` and the values of the tensors; without keys, of all.

        A tensor ``[n_rows]`` is one column under its name, one ``[n_rows, d]`` is ``name.0`` … ``name.d−1``.
        Requires pandas.
        """
        names = [self._name(key) for key in keys] if keys else self.keys()
        return frame(self._row_columns(), {name: self[name] for name in names})

    def _row_columns(self) -> dict[str, Array | None]:
        inputs = np.repeat(np.arange(len(self._offsets) - 1) + self._first_input, np.diff(self._offsets))
        return {"input": inputs, "position": self.positions, "token_id": self.token_ids}

    def _row_tensor(self, name: str) -> npt.NDArray[Any] | None:
        return self._file.array(name, rows=self._rows) if name in self._file.names else None

    def _name(self, key: Key) -> str:
        name = canonical(key, names=self.keys())
        if name not in self.keys():
            raise KeyError(f"no tensor {name!r}; there are {', '.join(self.keys()) or 'none'}")
        return name
