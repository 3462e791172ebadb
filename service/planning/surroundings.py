"""What specs are held against: the hosted models, the stored prompts and datasets, and what the worker can hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from service.errors import AtlasError, InvalidRequest, NotFound
from service.planning.specs import Loc
from service.store.dataset_items import DatasetInfo
from service.store.manifests import PromptManifest

_MAX_NAMED = 80


class Prompts(Protocol):
    """Of the prompt store: what a reference means."""

    def resolve(self, ref: str, *, base: str | None = None) -> PromptManifest: ...


class Datasets(Protocol):
    """Of the dataset store: what a name means; NotFound when it means nothing."""

    def get(self, name: str) -> DatasetInfo: ...


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What is there when a run is asked for.

    models: hosted models by name, each with the fields of its card. memory_bytes: of a worker; None while unknown.
    """

    models: Mapping[str, Mapping[str, Any]]
    prompts: Prompts
    datasets: Datasets
    memory_bytes: int | None = None


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
    """Looks names up for one spec, and notes what they meant. resolved: see the package."""

    around: Surroundings
    base_revision: str | None = None
    datasets: dict[str, str] = field(default_factory=dict)
    prompts: dict[str, str] = field(default_factory=dict)
    _infos: dict[str, DatasetInfo] = field(default_factory=dict)

    @property
    def resolved(self) -> dict[str, Any]:
        """What was looked up so far, by name."""
        return {"base_revision": self.base_revision, "datasets": dict(self.datasets), "prompts": dict(self.prompts)}

    def model(self, name: str) -> Base:
        """The base model of a spec; NotFound at its field ``model``."""
        card = self.around.models.get(name)
        if card is None:
            hosted = ", ".join(sorted(self.around.models))
            raise NotFound(f"No model {name[:_MAX_NAMED]!r} is hosted here; hosted: {hosted}.", loc=("model",))
        base = Base.from_card(name, card)
        self.base_revision = base.revision
        return base

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
