"""Maps: what runs of the kind ``map`` have left, found by the run's id.

runs/{id}/outputs/map.json                     what was fitted; a map exists from the moment this does, and is gone with it
runs/{id}/outputs/points.{layer}.safetensors   the points of a layer, see map_points
runs/{id}/outputs/basis.{layer}.safetensors    a layer's basis; its facts are the metadata
runs/{id}/outputs/tokens.safetensors           the texts of all tokens, in order of their ids, as a column ``token``
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
from promptatlas.types.runs import RunStatus

from service.errors import DamagedArtifact, InvalidRequest, NotFound
from service.store.artifacts.store import ArtifactStore
from service.store.artifacts.tensor_codec import TensorFile, decode, encode
from service.store.listing import MAX_LIMIT, Page, check_limit, log_damage
from service.store.maps.points import Points, TextColumn, join_points
from service.store.runs.outputs import Outputs
from service.store.runs.records import RunRecord
from service.store.runs.store import RunStore

MAP, TOKENS = "map.json", "tokens.safetensors"
KIND = "map"

Loc = tuple[str | int, ...]

_ENDED: RunStatus = "succeeded"


def site_of(layer: int) -> str:
    """The site whose states a layer of maps and reports means: ``resid_pre`` of that block, and of layer 0 ``embed``.

    The token embeddings, and not the first block's input, because soft vectors, vocabulary and priors are of their space:
    a model may add learnt positions, or a factor, in between. Where it does neither, the two are the same.
    """
    return "embed" if layer == 0 else f"resid_pre.{layer}"


def points_path(layer: int) -> str:
    """Where the points of a layer lie among the run's outputs."""
    return f"points.{layer}.safetensors"


def basis_path(layer: int) -> str:
    """Where the basis of a layer lies among the run's outputs."""
    return f"basis.{layer}.safetensors"


def encode_tokens(texts: Sequence[str]) -> bytes:
    """``tokens.safetensors``: the text of each token id."""
    column = TextColumn(codes=np.arange(len(texts), dtype=np.int32), values=texts)
    return encode(column.tensors("token"))


@dataclass(frozen=True, kw_only=True)
class MapFacts:
    """What ``map.json`` says.

    layers: that have a basis, ascending. sources: their names. n_points: of all layers. quality: the wire's fields, a layer
    each. added: tokens that the model's tokenizer puts in front of every text, and behind it. max_tokens: what is read of a
    text at most.
    """

    model: str
    revision: str
    method: str
    n_components: int
    layers: Sequence[int]
    sources: Sequence[str]
    n_points: int
    quality: Sequence[Mapping[str, Any]]
    added: Sequence[int]
    max_tokens: int

    def to_bytes(self) -> bytes:
        """As ``map.json`` holds it."""
        found = {item.name: getattr(self, item.name) for item in fields(self)}
        return json.dumps(found, indent=2, allow_nan=False).encode()

    @classmethod
    def from_bytes(cls, data: bytes, *, label: str) -> MapFacts:
        """The inverse of ``to_bytes``; DamagedArtifact for another form. Fields of later versions are ignored."""
        try:
            found = json.loads(data)
            return cls(**{item.name: found[item.name] for item in fields(cls)})
        except (KeyError, TypeError, ValueError):
            raise DamagedArtifact(f"{label} is damaged: its map.json has an unknown form.") from None


@dataclass(frozen=True, kw_only=True)
class StoredMap:
    """One map: the run that made it, and what it says of itself."""

    record: RunRecord
    facts: MapFacts

    @property
    def id(self) -> str:
        """The run's id, which is the map's."""
        return self.record.id

    def layer(self, layer: int, *, loc: Loc = ("layer",)) -> int:
        """``layer`` itself if the map has it, else InvalidRequest at ``loc``."""
        if layer not in self.facts.layers:
            has = ", ".join(map(str, self.facts.layers))
            raise InvalidRequest(f"Map {self.id} has no layer {layer}; it has {has}.", loc=loc)
        return layer


@dataclass(frozen=True, kw_only=True)
class LinearBasis:
    """Vectors become ``(vector - mean) @ components.T``: mean float32 `[d_model]`, components `[k, d_model]`."""

    mean: npt.NDArray[np.float32]
    components: npt.NDArray[np.float32]


class MapStore:
    """The maps among the runs of a store; safe to share between threads."""

    def __init__(self, artifacts: ArtifactStore, *, runs: RunStore) -> None:
        self._artifacts = artifacts
        self._runs = runs

    def get(self, map_id: str) -> StoredMap:
        """One map.

        Raises:
            NotFound: there is none, none yet, or it was deleted.
            DamagedArtifact: it is not what was stored.
        """
        record = self._record(map_id)
        try:
            data = self._outputs(map_id).read(MAP)
        except NotFound:
            _, state = self._runs.get(map_id)
            why = "it was deleted" if state.status == _ENDED else f"the run that makes it is {state.status}"
            raise NotFound(f"There is no map {map_id!r}: {why}.") from None
        return StoredMap(record=record, facts=MapFacts.from_bytes(data, label=f"map {map_id}"))

    def list_maps(self, *, limit: int = 20, after: str | None = None) -> Page[StoredMap]:
        """Maps, newest first, those older than the cursor ``after``. Damaged ones are logged and left out."""
        check_limit(limit)
        found: list[StoredMap] = []
        has_more = True
        while has_more and len(found) <= limit:
            page = self._runs.list_runs(kind=KIND, status=_ENDED, limit=min(limit + 1, MAX_LIMIT), after=after)
            found += [kept for record, _ in page.items if (kept := self._sound(record.id)) is not None]
            has_more, after = page.has_more, page.next
        is_cut = len(found) > limit
        return Page(items=found[:limit], has_more=is_cut, next=found[limit - 1].id if is_cut else None)

    def points(self, found: StoredMap, *, layer: int | None = None) -> Points:
        """All points of a map, or those of one of its layers."""
        layers = found.facts.layers if layer is None else [found.layer(layer)]
        return join_points([self._points(found.id, each) for each in layers])

    def basis(self, map_id: str, *, layer: int) -> TensorFile:
        """A layer's basis: its tensors, and as metadata its facts. The layer must be one of the map's."""
        return self._file(map_id, basis_path(layer))

    def tokens(self, found: StoredMap) -> Sequence[str]:
        """The text of each token id."""
        file = self._file(found.id, TOKENS)
        try:
            return TextColumn.from_tensors(file.tensors, name="token").values
        except (KeyError, ValueError):
            raise DamagedArtifact(f"map {found.id} is damaged: its tokens have an unknown form.") from None

    def linear_basis(self, map_id: str, *, layers: Sequence[int] | None, loc: Loc) -> LinearBasis:
        """The basis by which activations at ``layers`` are projected: the map's only one, or that of the only layer.

        Args:
            layers: asked for, counted from 0; None: all of the model's.
            loc: where the map is named in the request.

        Raises:
            NotFound: there is no such map.
            InvalidRequest: it is not linear, or has several bases of which none is meant.
        """
        try:
            found = self.get(map_id)
        except NotFound as error:
            raise NotFound(error.detail, loc=loc) from None
        if found.facts.method != "pca":
            raise InvalidRequest(
                f"Map {map_id} was made by {found.facts.method}, which is no linear map and cannot reduce rows as they are "
                f"read; make one by pca, or place vectors with POST /v1/maps/{map_id}/project.",
                loc=loc,
            )
        tensors = self.basis(map_id, layer=_one_layer(found, layers, loc)).tensors
        return LinearBasis(mean=tensors["mean"], components=tensors["components"])

    def delete(self, map_id: str) -> None:
        """Forget a map; its run stays, with the spec that would make it again. NotFound when there is none."""
        outputs = self._outputs(self._record(map_id).id)
        # The map itself first: what is left of a deletion that was cut short is no map.
        paths = sorted((output.path for output in outputs.all()), key=lambda path: path != MAP)
        removed = [outputs.remove(path) for path in paths if path in (MAP, TOKENS) or _is_part(path)]
        if not any(removed):
            raise NotFound(f"There is no map {map_id!r}.")

    def _record(self, map_id: str) -> RunRecord:
        try:
            record, _ = self._runs.get(map_id)
        except NotFound:
            record = None
        if record is None or record.kind != KIND:
            raise NotFound(f"There is no map {map_id[:80]!r}.")
        return record

    def _sound(self, map_id: str) -> StoredMap | None:
        try:
            return self.get(map_id)
        except NotFound:
            return None
        except DamagedArtifact as error:
            log_damage(error)
            return None

    def _points(self, map_id: str, layer: int) -> Points:
        return Points.from_tensors(self._file(map_id, points_path(layer)).tensors, label=f"map {map_id}")

    def _file(self, map_id: str, path: str) -> TensorFile:
        try:
            return decode(self._outputs(map_id).read(path))
        except (NotFound, InvalidRequest) as error:
            raise DamagedArtifact(f"map {map_id} is damaged: {error.detail}") from None

    def _outputs(self, map_id: str) -> Outputs:
        return Outputs(self._artifacts, run_id=map_id)


def _is_part(path: str) -> bool:
    return path.startswith(("points.", "basis.")) and path.endswith(".safetensors")


def _one_layer(found: StoredMap, layers: Sequence[int] | None, loc: Loc) -> int:
    own = found.facts.layers
    if len(own) == 1:
        return own[0]
    wanted = set(own if layers is None else layers)
    if len(wanted) == 1 and (layer := wanted.pop()) in own:
        return layer
    raise InvalidRequest(
        f"Map {found.id} has a basis for each of the layers {', '.join(map(str, own))}: ask for one of them at a time.",
        loc=loc,
    )


def chosen_tokens(n_there: int, *, n: int | None, seed: int) -> npt.NDArray[np.int64]:
    """Ids of the tokens that stand for a vocabulary of ``n_there``: all, or a seeded sample of ``n``, ascending."""
    if n is None or n >= n_there:
        return np.arange(n_there)
    return np.sort(np.random.default_rng(seed).permutation(n_there)[:n])
