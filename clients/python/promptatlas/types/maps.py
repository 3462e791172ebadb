"""Maps: fitted projections to two or three dimensions, and the points in them.

Layers of a map are inputs of blocks (``resid_pre``): layer 0 is the token embeddings, layer l what stands where a deep
prompt's vectors for layer l go. Each layer has a basis of its own.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from promptatlas.types.datasets import DatasetRef, Split, Template
from promptatlas.types.priors import Prior
from promptatlas.types.references import PromptRef, Reference
from promptatlas.types.sites import LayerIndex
from promptatlas.types.wire import RequestBody, ResponseBody

MapMethod = Literal["pca", "umap", "tsne"]
SourceName = Annotated[str, Field(min_length=1, max_length=100)]


class _NamedSource(RequestBody):
    """name: what the points' ``source`` says; None: made from the rest."""

    name: SourceName | None = None


class DatasetSource(_NamedSource):
    """States of a dataset's texts. per: one point a text (mean over its tokens) or one a token. n: texts."""

    dataset: DatasetRef
    split: Split | None = None
    prompt_ref: PromptRef | None = None
    n: int = Field(default=200, ge=1, le=1_000_000)
    seed: int = Field(default=0, ge=0)
    per: Literal["text", "token"] = "text"
    include_target: bool = True
    template: Template | None = None


class TextsSource(_NamedSource):
    """States of texts that are given."""

    texts: list[str] = Field(min_length=1, max_length=4096)
    prompt_ref: PromptRef | None = None
    per: Literal["text", "token"] = "text"


class PromptsSource(_NamedSource):
    """Vectors of tuned prompts, each with its way through training where its run kept it.

    At a layer that has no vectors of its own, the states that they become there. draws: also the draw each began at.
    """

    prompts: list[Reference] = Field(min_length=1, max_length=1024)
    snapshots: bool = False
    draws: bool = True


class PriorSource(_NamedSource):
    """Draws of a prior, at each layer of the map."""

    prior: Prior
    n: int = Field(default=200, ge=1, le=100_000)
    seed: int = Field(default=0, ge=0)


class Trajectories(RequestBody):
    """Generations to follow: of given inputs, or of a dataset's."""

    inputs: list[str] | None = Field(default=None, min_length=1, max_length=1024)
    dataset: DatasetRef | None = None
    split: Split = "test"
    n: int = Field(default=10, ge=1, le=10_000)
    prompt_ref: PromptRef | None = None
    max_tokens: int = Field(default=32, ge=1, le=4096)
    temperature: float = Field(default=0.0, ge=0, le=2)
    seed: int = Field(default=0, ge=0)


class TrajectoriesSource(_NamedSource):
    """States of generations, one point a token, in order; ``text`` says which and ``position`` where."""

    trajectories: Trajectories


class EmbeddingsMapSource(_NamedSource):
    """The embedding matrix, one point a token; n: a seeded sample of it. Only at layer 0."""

    embeddings: Literal["vocabulary"]
    n: int | None = Field(default=None, ge=1)
    seed: int = Field(default=0, ge=0)


MapSource = DatasetSource | TextsSource | PromptsSource | PriorSource | TrajectoriesSource | EmbeddingsMapSource


class MapSpec(RequestBody):
    """Spec of a ``map`` run.

    layers: inputs of these blocks; 0 is the embeddings. n_components: 2 or 3. n_pca: dimensions that UMAP and t-SNE see.
    n_neighbors, min_dist, metric: of UMAP. perplexity: of t-SNE. sample: points that quality is measured on.
    """

    model: str = Field(min_length=1, max_length=200)
    method: MapMethod = "pca"
    layers: list[LayerIndex] = Field(default=[0], min_length=1, max_length=256)
    sources: list[MapSource] = Field(min_length=1, max_length=256)
    n_components: Literal[2, 3] = 2
    n_pca: int = Field(default=50, ge=2, le=1024)
    n_neighbors: int = Field(default=15, ge=2, le=1000)
    min_dist: float = Field(default=0.1, ge=0, le=1)
    metric: Literal["euclidean", "cosine"] = "euclidean"
    perplexity: float = Field(default=30.0, ge=1, le=1000)
    sample: int = Field(default=2000, ge=50, le=20_000)
    seed: int = Field(default=0, ge=0, le=2**31 - 1)


class MapQuality(ResponseBody):
    """How true a layer's picture is, measured on a seeded sample of its points.

    explained_variance: share of the variance along each axis (PCA). trustworthiness: 1 where all neighbours on the map are
    neighbours in the space; neighbor_overlap: share of a point's nearest in the space that are its nearest on the map.
    placed_…, refitted_…: the same of ``n_held_out`` points, once placed on a map fitted without them, and once on a map
    fitted anew with them: what placing loses against refitting.
    """

    layer: int
    n_points: int
    explained_variance: list[float] | None = None
    trustworthiness: float | None = None
    neighbor_overlap: float | None = None
    n_held_out: int = 0
    placed_trustworthiness: float | None = None
    refitted_trustworthiness: float | None = None
    placed_neighbor_overlap: float | None = None
    refitted_neighbor_overlap: float | None = None


class MapPoints(ResponseBody):
    """Points in columns of one length.

    source: its name. text, token: what the point is of. position: token index, virtual ones negative; step of a way.
    group: points of one group belong together in order (a trajectory, a vector's way from draw to posterior). role:
    ``state``, ``embedding``, ``draw``, ``snapshot``, ``posterior`` or ``placed``. task: the record's own label.
    """

    x: list[float]
    y: list[float]
    z: list[float] | None = None
    source: list[str]
    text: list[str | None]
    token: list[str | None]
    position: list[int | None]
    layer: list[int]
    group: list[str | None] = Field(default_factory=list)
    role: list[str] = Field(default_factory=list)
    task: list[str | None] = Field(default_factory=list)
    prompt: list[str | None] = Field(default_factory=list)


class MapInfo(ResponseBody):
    """What was fitted: all that is known of a map but its points."""

    id: str
    model: str
    revision: str
    method: MapMethod
    layers: list[int]
    sources: list[str]
    n_points: int
    quality: list[MapQuality] = Field(default_factory=list)
    created_at: datetime | None = None
    name: str | None = None
    spec: dict[str, Any] = Field(default_factory=dict)


class Map(MapInfo, MapPoints):
    """Answer of ``GET /v1/maps/{id}``: what was fitted, and all its points (or those of ``?layer=``).

    As safetensors, the columns are tensors, and MapInfo stands as JSON under ``promptatlas`` in the header.
    """


class MapRow(ResponseBody):
    """One map of the list."""

    id: str
    name: str | None = None
    model: str
    method: MapMethod
    layers: list[int]
    sources: list[str]
    n_points: int
    created_at: datetime | None = None


class ProjectBody(RequestBody):
    """Body of ``POST /v1/maps/{id}/project``; layers: those of the map to place on, None: all of them."""

    sources: list[MapSource] = Field(default_factory=list, max_length=64)
    layers: list[LayerIndex] | None = Field(default=None, min_length=1, max_length=256)
