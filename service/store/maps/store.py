"""Store of maps: the outputs of runs of the kind ``map``, by the run's id.

runs/{id}/outputs/map.json                     facts of the map; the map exists as long as this file does
runs/{id}/outputs/points.{layer}.safetensors   the points of a layer; see ``service.store.maps.points``
runs/{id}/outputs/basis.{layer}.safetensors    the basis of a layer, with its facts as metadata
runs/{id}/outputs/vectors.{layer}.safetensors  vectors of a layer's points, float32 `[n, d_model]`; absent if too many
runs/{id}/outputs/tokens.safetensors           the texts of all tokens in order of their ids, as a column ``token``
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
from promptatlas.types.runs import RunStatus

from service.errors import DamagedArtifact, Expired, InvalidRequest, NotFound
from service.store.artifacts.store import ArtifactStore
from service.store.artifacts.tensor_codec import TensorFile, decode, encode
from service.store.listing import MAX_LIMIT, Page, check_limit, log_damage
from service.store.maps.points import Points, TextColumn, join_points
from service.store.runs.outputs import Outputs
from service.store.runs.records import RunRecord
from service.store.runs.store import RunStore

MAP, TOKENS, VECTORS = "map.json", "tokens.safetensors", "vectors"
KIND = "map"
Loc = tuple[str | int, ...]

_ENDED: RunStatus = "succeeded"


def site_of(layer: int) -> str:
    """The site that a layer of maps and reports denotes: ``resid_pre`` of that block, and ``embed`` for layer 0.

    Layer 0 is the token embeddings and not the input of the first block, because soft prompts, vocabulary and priors are in
    the embedding space; a model may add learned positions or a factor in between. Otherwise the two are equal.
    """
    return "embed" if layer == 0 else f"resid_pre.{layer}"


def points_path(layer: int) -> str:
    """Path of a layer's points among the run's outputs."""
    return f"points.{layer}.safetensors"


def basis_path(layer: int) -> str:
    """Path of a layer's basis among the run's outputs."""
    return f"basis.{layer}.safetensors"


def vectors_path(layer: int) -> str:
    """Path of the vectors of a layer's points among the run's outputs."""
    return f"vectors.{layer}.safetensors"


def encode_tokens(texts: Sequence[str]) -> bytes:
    """``tokens.safetensors``: the text of each token id."""
    column = TextColumn(codes=np.arange(len(texts), dtype=np.int32), values=texts)
    return encode(column.tensors("token"))


@dataclass(frozen=True, kw_only=True)
class MapFacts:
    """Content of ``map.json``.

    layers: with a basis, ascending. sources: their names. n_points: of all layers. quality: by layer the fields of the wire.
    added: number of tokens that the tokenizer adds before and after every text. max_tokens: texts are truncated to it.
    skips_first: the first token of a text is an attention sink and no point.
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
    skips_first: bool = False

    def to_bytes(self) -> bytes:
        """The content of ``map.json``."""
        return json.dumps(
            {item.name: getattr(self, item.name) for item in fields(self)}, indent=2, allow_nan=False
        ).encode()

    @classmethod
    def from_bytes(cls, data: bytes, *, label: str) -> MapFacts:
        """The inverse of ``to_bytes``; DamagedArtifact for malformed content. Fields of later versions are ignored."""
        try:
            found = json.loads(data)
            # Maps of earlier versions have no mark of the first token.
            return cls(
                **{item.name: found[item.name] for item in fields(cls) if item.default is MISSING or item.name in found}
            )
        except (KeyError, TypeError, ValueError):
            raise DamagedArtifact(f"{label} is damaged: its map.json is malformed.") from None


@dataclass(frozen=True, kw_only=True)
class StoredMap:
    """One map: its run and its facts."""

    record: RunRecord
    facts: MapFacts

    @property
    def id(self) -> str:
        """Id of the map and of its run."""
        return self.record.id

    @property
    def default_layer(self) -> int:
        """The layer whose tasks separate best, by ``task_silhouette``; the lowest if none was measured."""
        measured = [each for each in self.facts.quality if each.get("task_silhouette") is not None]
        best = max(measured, key=lambda each: each["task_silhouette"], default={"layer": self.facts.layers[0]})
        return int(best["layer"])

    def layer(self, layer: int, *, loc: Loc = ("layer",)) -> int:
        """``layer``; InvalidRequest at ``loc`` if the map does not have it."""
        if layer not in self.facts.layers:
            has = ", ".join(map(str, self.facts.layers))
            raise InvalidRequest(f"Map {self.id} has no layer {layer}; it has {has}.", loc=loc)
        return layer


@dataclass(frozen=True, kw_only=True)
class LinearBasis:
    """Projects by ``(vector - mean) @ components.T``: mean float32 `[d_model]`, components `[k, d_model]`."""

    mean: npt.NDArray[np.float32]
    components: npt.NDArray[np.float32]


class MapStore:
    """Maps of a store; thread-safe."""

    def __init__(self, artifacts: ArtifactStore, *, runs: RunStore) -> None:
        self._artifacts = artifacts
        self._runs = runs

    def get(self, map_id: str) -> StoredMap:
        """One map.

        Raises:
            NotFound: no such map, its run has not succeeded, or it was deleted.
            Expired: it was removed because of its age or size.
            DamagedArtifact: the stored file is damaged.
        """
        record = self._record(map_id)
        try:
            data = self._outputs(map_id).read(MAP)
        except Expired:
            raise Expired(f"Map {map_id!r} has expired. Its run has the spec to make it again.") from None
        except NotFound:
            _, state = self._runs.get(map_id)
            why = "it was deleted" if state.status == _ENDED else f"its run is {state.status}"
            raise NotFound(f"There is no map {map_id!r}: {why}.") from None
        return StoredMap(record=record, facts=MapFacts.from_bytes(data, label=f"map {map_id}"))

    def list_maps(self, *, limit: int = 20, after: str | None = None) -> Page[StoredMap]:
        """Maps, newest first, those older than the cursor ``after``. Damaged ones are logged and left out."""
        check_limit(limit)
        found: list[StoredMap] = []
        has_more = True
        while has_more and len(found) <= limit:
            page = self._runs.list_runs(kind=KIND, status=_ENDED, limit=min(limit + 1, MAX_LIMIT), after=after)
            found += [kept for record, _ in page.items if (kept := self._get_if_sound(record.id)) is not None]
            has_more, after = page.has_more, page.next
        is_cut = len(found) > limit
        return Page(items=found[:limit], has_more=is_cut, next=found[limit - 1].id if is_cut else None)

    def points(self, found: StoredMap, *, layer: int | None = None) -> Points:
        """All points of a map, or those of one layer."""
        layers = found.facts.layers if layer is None else [found.layer(layer)]
        return join_points([self._points(found.id, each) for each in layers])

    def basis(self, map_id: str, *, layer: int) -> TensorFile:
        """The basis of a layer of the map: tensors, with the facts as metadata."""
        return self._file(map_id, basis_path(layer))

    def vectors(self, found: StoredMap, *, layer: int) -> npt.NDArray[np.float32]:
        """Vectors `[n, d_model]` of a layer's points in the original space, in the order of ``points``.

        Raises:
            NotFound: they were not stored, or were removed.
        """
        try:
            data = self._outputs(found.id).read(vectors_path(layer))
        except NotFound:
            raise NotFound(
                f"Map {found.id} has no vectors of layer {layer}: they were excluded by its spec (keep_vectors), were too "
                "many, or the map is of an earlier version. Make the map again to read neighbours."
            ) from None
        try:
            return np.asarray(decode(data).tensors[VECTORS], dtype=np.float32)
        except (InvalidRequest, KeyError):
            raise DamagedArtifact(f"map {found.id} is damaged: the vectors of layer {layer} are malformed.") from None

    def tokens(self, found: StoredMap) -> Sequence[str]:
        """The text of each token id."""
        file = self._file(found.id, TOKENS)
        try:
            return TextColumn.from_tensors(file.tensors, name="token").values
        except (KeyError, ValueError):
            raise DamagedArtifact(f"map {found.id} is damaged: its tokens are malformed.") from None

    def linear_basis(self, map_id: str, *, layers: Sequence[int] | None, loc: Loc) -> LinearBasis:
        """The basis to project activations at ``layers``: the map's only basis, or that of the only layer.

        Args:
            layers: requested ones, counted from 0; None: all of the model.
            loc: field of the request that names the map.

        Raises:
            NotFound: no such map.
            InvalidRequest: the map is not linear, or has several bases and ``layers`` selects none.
        """
        try:
            found = self.get(map_id)
        except NotFound as error:
            raise NotFound(error.detail, loc=loc) from None
        if found.facts.method != "pca":
            raise InvalidRequest(
                f"Expected a linear map (pca) to reduce rows, got map {map_id} by {found.facts.method}. Make a pca map, or "
                f"project vectors with POST /v1/maps/{map_id}/project.",
                loc=loc,
            )
        tensors = self.basis(map_id, layer=_one_layer(found, layers, loc)).tensors
        return LinearBasis(mean=tensors["mean"], components=tensors["components"])

    def delete(self, map_id: str) -> None:
        """Delete a map; its run stays, with the spec to make it again. NotFound if there is no such map."""
        outputs = self._outputs(self._record(map_id).id)
        # map.json first: an interrupted deletion leaves no map.
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

    def _get_if_sound(self, map_id: str) -> StoredMap | None:
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
    return path.startswith(("points.", "basis.", f"{VECTORS}.")) and path.endswith(".safetensors")


def _one_layer(found: StoredMap, layers: Sequence[int] | None, loc: Loc) -> int:
    own = found.facts.layers
    if len(own) == 1:
        return own[0]
    requested = set(own if layers is None else layers)
    if len(requested) == 1 and (layer := requested.pop()) in own:
        return layer
    raise InvalidRequest(
        f"Expected one layer, because map {found.id} has a basis for each of the layers {', '.join(map(str, own))}.",
        loc=loc,
    )


def chosen_tokens(n_tokens: int, *, n: int | None, seed: int) -> npt.NDArray[np.int64]:
    """Ids of the tokens that represent a vocabulary of ``n_tokens``: all, or a seeded sample of ``n``, ascending."""
    if n is None or n >= n_tokens:
        return np.arange(n_tokens)
    return np.sort(np.random.default_rng(seed).permutation(n_tokens)[:n])
