"""Maps: fitted projections to two or three dimensions, and their points.

Layers of a map are inputs of blocks (``resid_pre``): layer 0 is the token embeddings, layer l is where a deep prompt's
vectors for layer l go. Each layer has its own basis.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from promptatlas.types.datasets import DatasetRef, Split, Template
from promptatlas.types.priors import Prior
from promptatlas.types.references import PromptRef, Reference
from promptatlas.types.sites import LayerIndex
from promptatlas.types.wire import RequestBody, ResponseBody

MapMethod = Literal["pca", "umap", "tsne"]
NeighborMetric = Literal["euclidean", "cosine"]
SourceName = Annotated[str, Field(min_length=1, max_length=100)]


class _NamedSource(RequestBody):
    """name: value of the points' ``source``; None: derived from the other fields."""

    name: SourceName | None = None


class DatasetSource(_NamedSource):
    """States of a dataset's texts. per: one point per text (mean over its tokens) or per token. n: number of texts."""

    dataset: DatasetRef
    split: Split | None = None
    prompt_ref: PromptRef | None = None
    n: int = Field(default=200, ge=1, le=1_000_000)
    seed: int = Field(default=0, ge=0)
    per: Literal["text", "token"] = "text"
    include_target: bool = True
    template: Template | None = None


class TextsSource(_NamedSource):
    """States of given texts."""

    texts: list[str] = Field(min_length=1, max_length=4096)
    prompt_ref: PromptRef | None = None
    per: Literal["text", "token"] = "text"


class PromptsSource(_NamedSource):
    """Vectors of tuned prompts. At a layer without vectors: the states that lower vectors have become there.

    snapshots: also the vectors during training, if the run kept them. draws: also the initial draw of each vector.
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
    """Generations that a map follows: from given inputs, or from the inputs of a dataset."""

    inputs: list[str] | None = Field(default=None, min_length=1, max_length=1024)
    dataset: DatasetRef | None = None
    split: Split = "test"
    n: int = Field(default=10, ge=1, le=10_000)
    prompt_ref: PromptRef | None = None
    max_tokens: int = Field(default=32, ge=1, le=4096)
    temperature: float = Field(default=0.0, ge=0, le=2)
    seed: int = Field(default=0, ge=0)


class TrajectoriesSource(_NamedSource):
    """States of generations, one point per token, in order; ``text`` is the generation and ``position`` the token."""

    trajectories: Trajectories


class EmbeddingsMapSource(_NamedSource):
    """The embedding matrix, one point per token, at layer 0 only. n: size of a seeded sample; None: all tokens."""

    embeddings: Literal["vocabulary"]
    n: int | None = Field(default=None, ge=1)
    seed: int = Field(default=0, ge=0)


# The key that each source has and no other. Tags are names of models: locations of errors leave them out.
_SOURCES: dict[str, type[_NamedSource]] = {
    "dataset": DatasetSource,
    "texts": TextsSource,
    "prompts": PromptsSource,
    "prior": PriorSource,
    "trajectories": TrajectoriesSource,
    "embeddings": EmbeddingsMapSource,
}


def _source_tag(value: Any) -> str | None:
    if isinstance(value, _NamedSource):
        return type(value).__name__
    keys = [key for key in _SOURCES if isinstance(value, Mapping) and key in value]
    return _SOURCES[keys[0]].__name__ if keys else None


MapSource = Annotated[
    Annotated[DatasetSource, Tag("DatasetSource")]
    | Annotated[TextsSource, Tag("TextsSource")]
    | Annotated[PromptsSource, Tag("PromptsSource")]
    | Annotated[PriorSource, Tag("PriorSource")]
    | Annotated[TrajectoriesSource, Tag("TrajectoriesSource")]
    | Annotated[EmbeddingsMapSource, Tag("EmbeddingsMapSource")],
    Discriminator(
        _source_tag,
        custom_error_type="map_source",
        custom_error_message=f"Expected a source with one of the fields {', '.join(_SOURCES)}",
    ),
]


class MapSpec(RequestBody):
    """Spec of a ``map`` run.

    layers: inputs of these blocks; 0 is the embeddings. n_components: 2 or 3. n_pca: PCA dimensions that UMAP and t-SNE
    are fitted in. n_neighbors, min_dist, metric: of UMAP. perplexity: of t-SNE. sample: number of points that quality is
    measured on. keep_vectors: store the vectors of layers with at most 256 MiB of them, for ``…/neighbors``.
    """

    model: str = Field(min_length=1, max_length=200)
    method: MapMethod = "pca"
    layers: list[LayerIndex] = Field(default=[0], min_length=1, max_length=256)
    sources: list[MapSource] = Field(min_length=1, max_length=256)
    n_components: Literal[2, 3] = 2
    n_pca: int = Field(default=50, ge=2, le=1024)
    n_neighbors: int = Field(default=15, ge=2, le=1000)
    min_dist: float = Field(default=0.1, ge=0, le=1)
    metric: NeighborMetric = "euclidean"
    perplexity: float = Field(default=30.0, ge=1, le=1000)
    sample: int = Field(default=2000, ge=50, le=20_000)
    keep_vectors: bool = True
    seed: int = Field(default=0, ge=0, le=2**31 - 1)


class MapQuality(ResponseBody):
    """Quality of the map of one layer, measured on a seeded sample of its points.

    explained_variance: share of the variance along each axis (PCA). trustworthiness: Venna and Kaski (2001); 1 if all
    neighbours on the map are neighbours in the original space. neighbor_overlap: share of a point's nearest neighbours in
    the original space that are its nearest neighbours on the map. placed_…, refitted_…: the same for ``n_held_out`` points,
    placed on a map that was fitted without them, and on a map refitted with them. task_silhouette: mean silhouette
    of the points of datasets in the original space (Rousseeuw 1987), −1 to 1, grouped by ``task``, or by dataset where records
    name none; None with fewer than two groups.
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
    task_silhouette: float | None = None


class MapPoints(ResponseBody):
    """Points in columns of one length.

    source: name of the source. text, token: the text and token of the point. position: token index, negative for virtual
    tokens; step of a snapshot. group: points of one group form a path, in order (a trajectory, or a vector from draw to
    posterior). role: ``state``, ``embedding``, ``draw``, ``snapshot``, ``posterior`` or ``placed``. task: label of the
    record.
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


class MapNeighbors(MapPoints):
    """Answer of ``GET /v1/maps/{id}/neighbors``: the nearest points of one point, nearest first, in columns.

    map: id. point: index of the point among the points of its layer. index: those of the neighbours. distance: in the original
    space, by ``metric``: Euclidean, or 1 − cosine similarity.
    """

    map: str
    point: int
    metric: NeighborMetric
    index: list[int]
    distance: list[float]


class MapInfo(ResponseBody):
    """A map without its points. default_layer: see :class:`MapRow`."""

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
    default_layer: int | None = None
    spec: dict[str, Any] = Field(default_factory=dict)


class Map(MapInfo, MapPoints):
    """Answer of ``GET /v1/maps/{id}``: a map with all its points (or those of ``?layer=``).

    In safetensors, the columns are tensors, and MapInfo is JSON under ``promptatlas`` in the header.
    """


class MapRow(ResponseBody):
    """One map in a list.

    default_layer: the layer to show first: that with the largest ``task_silhouette``; the lowest if the points have fewer than
    two tasks.
    """

    id: str
    name: str | None = None
    model: str
    method: MapMethod
    layers: list[int]
    sources: list[str]
    n_points: int
    created_at: datetime | None = None
    default_layer: int | None = None


class ProjectBody(RequestBody):
    """Body of ``POST /v1/maps/{id}/project``; layers: layers of the map to place points on; None: all."""

    sources: list[MapSource] = Field(default_factory=list, max_length=64)
    layers: list[LayerIndex] | None = Field(default=None, min_length=1, max_length=256)
