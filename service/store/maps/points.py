"""Points of maps in columns: in memory, as safetensors, and as lists.

A column of texts is dictionary-encoded: many points share few texts. In safetensors a column ``text`` is three tensors:

    text           int32 [n]      for each point the index of its text, −1 for none
    text.bytes     uint8 [m]      all texts in UTF-8, concatenated
    text.offsets   int64 [k + 1]  text i is the bytes from offsets[i] to offsets[i + 1]

The other tensors are ``x``, ``y`` and optionally ``z`` float32 `[n]`, ``layer`` int32 `[n]`, and ``position`` int32 `[n]`,
which is :data:`NO_POSITION` for a point without one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from service.errors import DamagedArtifact

NO_POSITION = -(2**31)
AXES = ("x", "y", "z")
TEXT_COLUMNS = ("source", "text", "token", "group", "role", "task", "prompt")

MAX_TEXT = 1000
"""Maximum number of characters of a point's text."""

Array = npt.NDArray[Any]
Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class TextColumn:
    """A column of texts. values: the distinct texts. codes: int32 `[n]`, index of each point's text, −1 for none."""

    codes: Ints
    values: Sequence[str]

    def items(self) -> list[str | None]:
        """The text of each point."""
        found: Array = np.array([*self.values, None], dtype=object)[self.codes]
        return found.tolist()  # type: ignore[no-any-return]

    def tensors(self, name: str) -> dict[str, Array]:
        """The column as tensors; see the module."""
        encoded = [value.encode("utf-8", "replace") for value in self.values]
        offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
        joined = np.frombuffer(b"".join(encoded), dtype=np.uint8)
        return {name: self.codes, f"{name}.bytes": joined, f"{name}.offsets": offsets}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Array], *, name: str) -> TextColumn:
        """The inverse of ``tensors``; KeyError for a missing tensor."""
        joined, offsets = tensors[f"{name}.bytes"].tobytes(), tensors[f"{name}.offsets"].tolist()
        values = [joined[start:end].decode() for start, end in pairwise(offsets)]
        return cls(codes=np.asarray(tensors[name], dtype=np.int32), values=values)


class TextColumnBuilder:
    """Builds a column of texts."""

    def __init__(self) -> None:
        self._codes_by_text: dict[str, int] = {}
        self._codes: list[Ints] = []

    def add(self, values: Iterable[str | None]) -> None:
        """Add points, each with its own text."""
        self._codes.append(np.fromiter(map(self._code, values), dtype=np.int32))

    def repeat(self, value: str | None, *, n: int) -> None:
        """Add ``n`` points with the same text."""
        self._codes.append(np.full(n, self._code(value), dtype=np.int32))

    def column(self) -> TextColumn:
        """The column of all points added so far."""
        codes = np.concatenate(self._codes) if self._codes else np.zeros(0, np.int32)
        return TextColumn(codes=codes, values=list(self._codes_by_text))

    def extend(self, column: TextColumn) -> None:
        """Add the points of another column."""
        numbers = np.array([*map(self._code, column.values), -1], dtype=np.int32)
        self._codes.append(numbers[column.codes])

    def _code(self, value: str | None) -> int:
        return -1 if value is None else self._codes_by_text.setdefault(value, len(self._codes_by_text))


@dataclass(frozen=True, kw_only=True)
class Points:
    """Points of a map.

    places: coordinates, float32 `[n, 2 or 3]`. layers, positions: int32 `[n]`. texts: by name of :data:`TEXT_COLUMNS`.
    """

    places: Floats
    layers: Ints
    positions: Ints
    texts: Mapping[str, TextColumn]

    def __len__(self) -> int:
        return len(self.places)

    def rows(self, indices: npt.NDArray[np.integer[Any]]) -> Points:
        """The points with these indices, in their order."""
        return Points(
            places=self.places[indices],
            layers=self.layers[indices],
            positions=self.positions[indices],
            texts={
                name: TextColumn(codes=column.codes[indices], values=column.values)
                for name, column in self.texts.items()
            },
        )

    def tensors(self) -> dict[str, Array]:
        """All columns as tensors; see the module."""
        found: dict[str, Array] = {name: self.places[:, i] for i, name in enumerate(AXES[: self.places.shape[1]])}
        found |= {"layer": self.layers, "position": self.positions}
        for name, column in self.texts.items():
            found |= column.tensors(name)
        return found

    def lists(self) -> dict[str, list[Any]]:
        """All columns as lists of JSON values."""
        found: dict[str, list[Any]] = {
            name: _short(self.places[:, i]) for i, name in enumerate(AXES[: self.places.shape[1]])
        }
        found["layer"] = self.layers.tolist()
        found["position"] = [None if value == NO_POSITION else value for value in self.positions.tolist()]
        return found | {name: column.items() for name, column in self.texts.items()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Array], *, label: str) -> Points:
        """The inverse of ``tensors``; DamagedArtifact for malformed tensors."""
        try:
            axes = [tensors[name] for name in AXES if name in tensors]
            return cls(
                places=np.stack(axes, axis=1).astype(np.float32, copy=False),
                layers=np.asarray(tensors["layer"], dtype=np.int32),
                positions=np.asarray(tensors["position"], dtype=np.int32),
                texts={name: TextColumn.from_tensors(tensors, name=name) for name in TEXT_COLUMNS},
            )
        except (KeyError, ValueError) as error:
            raise DamagedArtifact(f"{label} is damaged: its points are malformed ({error}).") from None


def _short(values: Floats) -> list[float]:
    # Nine digits represent float32 exactly; the repr of float64 would be twice as long.
    return [float(text) for text in np.char.mod("%.9g", values).tolist()]


def join_points(parts: Sequence[Points]) -> Points:
    """The points of all ``parts`` (at least one), in order."""
    if len(parts) == 1:
        return parts[0]
    builders = {name: TextColumnBuilder() for name in TEXT_COLUMNS}
    for part in parts:
        for name, builder in builders.items():
            builder.extend(part.texts[name])
    return Points(
        places=np.concatenate([part.places for part in parts]),
        layers=np.concatenate([part.layers for part in parts]),
        positions=np.concatenate([part.positions for part in parts]),
        texts={name: builder.column() for name, builder in builders.items()},
    )


class Labels:
    """Builds the columns of :class:`Points` of one layer, except the coordinates."""

    def __init__(self, *, layer: int) -> None:
        self._layer = layer
        self._positions: list[Ints] = []
        self._texts = {name: TextColumnBuilder() for name in TEXT_COLUMNS}
        self.n = 0

    def add(
        self,
        n: int,
        *,
        source: str,
        role: str,
        positions: npt.NDArray[np.integer[Any]] | None = None,
        **texts: str | Sequence[str | None] | None,
    ) -> None:
        """Add ``n`` points. texts: by column one text for all points or one per point; missing columns are None."""
        given: Mapping[str, str | Sequence[str | None] | None] = {"source": source, "role": role, **texts}
        for name, builder in self._texts.items():
            value = given.get(name)
            if value is None or isinstance(value, str):
                builder.repeat(value, n=n)
            else:
                builder.add(value)
        none = np.full(n, NO_POSITION, dtype=np.int32)
        self._positions.append(none if positions is None else positions.astype(np.int32))
        self.n += n

    def points(self, places: Floats) -> Points:
        """The points with their coordinates `[n, 2 or 3]`."""
        return Points(
            places=places,
            layers=np.full(self.n, self._layer, dtype=np.int32),
            positions=np.concatenate(self._positions) if self._positions else np.zeros(0, np.int32),
            texts={name: builder.column() for name, builder in self._texts.items()},
        )


def shown(text: str) -> str:
    """A text truncated to :data:`MAX_TEXT` characters, as points store it."""
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"


def task_of(record: Mapping[str, Any]) -> str | None:
    """The label of a dataset record: its field ``task``, if it is a string or an integer."""
    task = record.get("task")
    return str(task) if isinstance(task, (str, int)) and not isinstance(task, bool) else None
