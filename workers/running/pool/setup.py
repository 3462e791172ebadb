"""What a worker and its work horse are told when they start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from service.queueing.intervals import Intervals
from service.settings import Settings


@dataclass(frozen=True, kw_only=True)
class WorkSetup:
    """settings: of this process tree, with the Redis that it uses. kinds: dotted names ``module:function`` of works.

    helpers: the same of those kinds with which other workers may help.
    """

    settings: Settings
    kinds: Mapping[str, str]
    helpers: Mapping[str, str] = field(default_factory=dict)
    timing: Intervals = field(default_factory=Intervals)

    @property
    def redis_url(self) -> str:
        """Where the queue is; ValueError without one."""
        if self.settings.redis_url is None:
            raise ValueError("workers need the address of a Redis, but the settings have none")
        return self.settings.redis_url
