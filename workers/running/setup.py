"""Configuration of a worker and its work horses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from service.queueing.intervals import Intervals
from service.settings import Settings


@dataclass(frozen=True, kw_only=True)
class WorkSetup:
    """Settings, kinds of run, and intervals of one tree of worker processes.

    settings: with the URL of Redis. kinds: by kind of run, the dotted name ``module:function`` of its work.
    helpers: by kind of run that other workers may help with, the dotted name of the helper's work.
    """

    settings: Settings
    kinds: Mapping[str, str]
    helpers: Mapping[str, str] = field(default_factory=dict)
    timing: Intervals = field(default_factory=Intervals)

    @property
    def redis_url(self) -> str:
        """The Redis of the queue; ValueError if the settings have none."""
        if self.settings.redis_url is None:
            raise ValueError("workers need the URL of a Redis, but the settings have none")
        return self.settings.redis_url

    def with_share(self, share: float) -> WorkSetup:
        """The setup with a share of the memory for each run, unless the settings have one."""
        if self.settings.memory_share is not None:
            return self
        return replace(self, settings=self.settings.model_copy(update={"memory_share": share}))

    def to_json(self) -> dict[str, Any]:
        """The setup as values that JSON can hold."""
        return {
            "settings": self.settings.model_dump(mode="json"),
            "kinds": dict(self.kinds),
            "helpers": dict(self.helpers),
            "timing": asdict(self.timing),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> WorkSetup:
        """The setup that :meth:`to_json` was called on."""
        timing = {**data["timing"], "retries_s": tuple(data["timing"]["retries_s"])}
        return cls(
            settings=Settings.model_validate(data["settings"]),
            kinds=data["kinds"],
            helpers=data["helpers"],
            timing=Intervals(**timing),
        )
