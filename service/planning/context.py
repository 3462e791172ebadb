"""What specs are validated against: the hosted models, the stored prompts and datasets, and the memory of a worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from service.errors import AtlasError, NotFound
from service.planning.encoder_decoders import EncoderDecoderConfigs
from service.planning.specs import Loc, error_at
from service.store.client_files import ClientFile
from service.store.datasets.items import DatasetInfo
from service.store.prompts.manifests import PromptManifest, require_base

_MAX_SHOWN = 80


class Prompts(Protocol):
    """The part of the prompt store that planning uses."""

    def resolve(self, ref: str, *, base: str | None = None, allows_posterior: bool = False) -> PromptManifest:
        """The version that a reference selects; NotFound or InvalidRequest if there is none, or it is a posterior."""


class Datasets(Protocol):
    """The part of the dataset store that planning uses."""

    def get(self, name: str) -> DatasetInfo:
        """The facts of a dataset; NotFound if there is none of that name."""


class Files(Protocol):
    """The part of the store of clients' files that planning uses."""

    def get(self, file_id: str) -> ClientFile:
        """A file; NotFound if there is none."""


class Maps(Protocol):
    """The part of the map store that planning uses."""

    def linear_basis(self, map_id: str, *, layers: Sequence[int] | None, loc: Loc) -> object:
        """The linear basis of a map that covers ``layers``; NotFound or InvalidRequest at ``loc`` if there is none."""


@dataclass(frozen=True, kw_only=True)
class PlanningContext:
    """What exists when a run is submitted.

    models: hosted models by name, each with the fields of its card. memory_bytes: of a worker; None if unknown.
    maps: those that states can be projected by. read_models: models that only workers load. max_harvest_bytes: limit on the
    shards of one harvest. teachers: names of the endpoints that ``generate`` runs can sample from.
    files: of clients, inputs of batches.
    """

    models: Mapping[str, Mapping[str, Any]]
    prompts: Prompts
    datasets: Datasets
    memory_bytes: int | None = None
    maps: Maps | None = None
    read_models: EncoderDecoderConfigs | None = None
    max_harvest_bytes: int | None = None
    teachers: tuple[str, ...] = ()
    files: Files | None = None


@dataclass(frozen=True, kw_only=True)
class Base:
    """The fields of a hosted model that specs depend on. has_equal_layers: keys and values of all layers have one shape."""

    name: str
    revision: str
    n_layers: int
    d_model: int
    n_heads: int
    n_kv_heads: int
    d_head: int
    vocab_size: int
    n_positions: int
    dtype: str
    has_equal_layers: bool = True

    @classmethod
    def from_card(cls, name: str, card: Mapping[str, Any]) -> Base:
        """The base of a model card; other fields of the card are ignored."""
        given = {item: card[item] for item in cls.__dataclass_fields__ if item in card}
        return cls(**{**given, "name": name})


@dataclass(kw_only=True)
class Resolver:
    """Resolves the names in one spec and records the result.

    base_revision, datasets, prompts: what was resolved so far. estimate: cost of a harvest.
    """

    context: PlanningContext
    base_revision: str | None = None
    datasets: dict[str, str] = field(default_factory=dict)
    prompts: dict[str, str] = field(default_factory=dict)
    estimate: dict[str, Any] | None = None
    _infos: dict[str, DatasetInfo] = field(default_factory=dict)

    @property
    def resolved(self) -> dict[str, Any]:
        """What was resolved so far, as it is stored with the run; see the package."""
        found = {"base_revision": self.base_revision, "datasets": dict(self.datasets), "prompts": dict(self.prompts)}
        return found if self.estimate is None else {**found, "estimate": self.estimate}

    def card(self, name: str) -> Mapping[str, Any]:
        """The fields of a base model's card; NotFound at the spec's field ``model``."""
        return card_of(name, models=self.context.models)

    def model(self, name: str) -> Base:
        """The base model of a spec; NotFound at its field ``model``."""
        base = Base.from_card(name, self.card(name))
        self.base_revision = base.revision
        return base

    def require_linear_basis(self, map_id: str, *, layers: Sequence[int] | None, at: Loc) -> None:
        """Refuse a map that cannot project states at ``layers``; NotFound or InvalidRequest at ``at``."""
        if self.context.maps is None:
            raise NotFound(f"There is no map {map_id[:_MAX_SHOWN]!r}.", loc=at)
        self.context.maps.linear_basis(map_id, layers=layers, loc=at)

    def dataset(self, name: str, *, at: Loc) -> DatasetInfo:
        """A dataset by name, read once; NotFound at ``at``."""
        if name in self._infos:
            return self._infos[name]
        try:
            found = self.context.datasets.get(name)
        except AtlasError as error:
            raise error_at(error, loc=at) from error
        self.datasets[name] = found.sha256
        self._infos[name] = found
        return found

    def prompt(self, ref: str, *, base: Base, at: Loc, allows_posterior: bool = False) -> tuple[str, PromptManifest]:
        """The pinned form of a reference, and the version that it selects.

        Raises:
            NotFound, InvalidRequest: at ``at``: there is none, it was tuned for another model or other weights, or it is a
                posterior where one prompt is expected.
        """
        try:
            found = self.context.prompts.resolve(ref, base=base.name, allows_posterior=allows_posterior)
        except AtlasError as error:
            raise error_at(error, loc=at) from error
        require_base(found, base=base.name, revision=base.revision, ref=ref, loc=at)
        pinned = ref if ref.startswith("sha256:") else found.ref
        self.prompts[pinned] = found.sha256
        return pinned, found


def card_of(name: str, *, models: Mapping[str, Mapping[str, Any]], named: str | None = None) -> Mapping[str, Any]:
    """The fields of a hosted model's card; NotFound at the field ``model`` if it is not hosted.

    Args:
        named: the model as the request names it; default: ``name``.
    """
    card = models.get(name)
    if card is None:
        shown, hosted = (name if named is None else named)[:_MAX_SHOWN], ", ".join(sorted(models))
        raise NotFound(f"No model {shown!r} is hosted here; hosted: {hosted}.", loc=("model",))
    return card
