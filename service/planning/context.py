"""What specs are held against: the hosted models, the stored prompts and datasets, and what the worker can hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from service.errors import AtlasError, InvalidRequest, NotFound
from service.planning.checks.encoder_decoders import EncoderDecoderConfigs
from service.planning.specs import Loc
from service.store.datasets.items import DatasetInfo
from service.store.prompts.manifests import PromptManifest

_MAX_NAMED = 80


class Prompts(Protocol):
    """Of the prompt store: what a reference means."""

    def resolve(self, ref: str, *, base: str | None = None) -> PromptManifest: ...


class Datasets(Protocol):
    """Of the dataset store: what a name means; NotFound when it means nothing."""

    def get(self, name: str) -> DatasetInfo: ...


class Maps(Protocol):
    """Of the map store: the one linear basis that is meant; NotFound or InvalidRequest at ``loc`` where there is none."""

    def linear_basis(self, map_id: str, *, layers: Sequence[int] | None, loc: Loc) -> object: ...


@dataclass(frozen=True, kw_only=True)
class PlanningContext:
    """What is there when a run is asked for.

    models: hosted models by name, each with the fields of its card. memory_bytes: of a worker; None while unknown.
    maps: those that states can be projected by. read_models: those that only workers load. max_harvest_bytes: of the
    shards of one harvest.
    """

    models: Mapping[str, Mapping[str, Any]]
    prompts: Prompts
    datasets: Datasets
    memory_bytes: int | None = None
    maps: Maps | None = None
    read_models: EncoderDecoderConfigs | None = None
    max_harvest_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class Base:
    """A hosted model as far as specs depend on it. has_equal_layers: keys and values of all layers have one shape."""

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
        """From the card's fields, of which it needs only some."""
        given = {item: card[item] for item in cls.__dataclass_fields__ if item in card}
        return cls(**{**given, "name": name})


@dataclass(kw_only=True)
class Lookup:
    """Looks names up for one spec, and notes what they meant. resolved: see the package. estimate: what it will cost."""

    around: PlanningContext
    base_revision: str | None = None
    datasets: dict[str, str] = field(default_factory=dict)
    prompts: dict[str, str] = field(default_factory=dict)
    estimate: dict[str, Any] | None = None
    _infos: dict[str, DatasetInfo] = field(default_factory=dict)

    @property
    def resolved(self) -> dict[str, Any]:
        """What was looked up so far, by name."""
        meant = {"base_revision": self.base_revision, "datasets": dict(self.datasets), "prompts": dict(self.prompts)}
        return meant if self.estimate is None else {**meant, "estimate": self.estimate}

    def card(self, name: str) -> Mapping[str, Any]:
        """The fields of a base model's card; NotFound at the spec's field ``model``."""
        card = self.around.models.get(name)
        if card is None:
            hosted = ", ".join(sorted(self.around.models))
            raise NotFound(f"No model {name[:_MAX_NAMED]!r} is hosted here; hosted: {hosted}.", loc=("model",))
        return card

    def model(self, name: str) -> Base:
        """The base model of a spec; NotFound at its field ``model``."""
        base = Base.from_card(name, self.card(name))
        self.base_revision = base.revision
        return base

    def linear_basis(self, map_id: str, *, layers: Sequence[int] | None, at: Loc) -> None:
        """Refuse a map by which states at ``layers`` cannot be projected; NotFound or InvalidRequest at ``at``."""
        if self.around.maps is None:
            raise NotFound(f"There is no map {map_id[:_MAX_NAMED]!r}.", loc=at)
        self.around.maps.linear_basis(map_id, layers=layers, loc=at)

    def dataset(self, name: str, *, at: Loc) -> DatasetInfo:
        """A dataset by name, looked up once; NotFound at ``at``."""
        if name in self._infos:
            return self._infos[name]
        try:
            found = self.around.datasets.get(name)
        except AtlasError as error:
            raise _placed(error, at) from error
        self.datasets[name] = found.sha256
        self._infos[name] = found
        return found

    def prompt(self, ref: str, *, base: Base, at: Loc) -> tuple[str, PromptManifest]:
        """The pinned form of a reference, and the version that it means.

        Raises:
            NotFound, InvalidRequest: at ``at``: there is none, or it was made for another model or other weights.
        """
        try:
            found = self.around.prompts.resolve(ref, base=base.name)
        except AtlasError as error:
            raise _placed(error, at) from error
        if found.base != base.name:
            raise InvalidRequest(f"Prompt {ref!r} is for {found.base!r}, the run for {base.name!r}.", loc=at)
        if found.base_revision != base.revision:
            raise InvalidRequest(
                f"Prompt {ref!r} was made for revision {found.base_revision} of {base.name}; "
                f"hosted is {base.revision}, with other weights.",
                loc=at,
            )
        pinned = ref if ref.startswith("sha256:") else found.ref
        self.prompts[pinned] = found.sha256
        return pinned, found


def _placed(error: AtlasError, at: Loc) -> AtlasError:
    return type(error)(error.detail, loc=at, retry_after_s=error.retry_after_s)
