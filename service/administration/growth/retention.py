"""Retention: parts of ended runs that are older than a limit, or too large together, are removed.

Prompt versions, datasets, and the records and final states of runs are never removed here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import unquote

from service.administration.growth.references import RESUMABLE, Row, referenced_runs
from service.administration.inventory import Inventory
from service.errors import DamagedArtifact
from service.settings import Settings
from service.settings.keeping import Keep, Kept
from service.store.artifacts.clock import Clock, read_time, utc_now, write_time
from service.store.artifacts.store import ArtifactStore
from service.store.listing import log_damage
from service.store.runs.expiry import ExpiredPart, RunExpiry
from service.store.runs.summaries import RunSummaries

MIN_AGE = timedelta(hours=1)
"""Runs that ended later are left alone: their workers may still repeat their last write, and clients read their end."""

_CLASS_OF_KIND: Mapping[str, Kept] = {"harvest": "harvests", "map": "maps"}


@dataclass(frozen=True, kw_only=True)
class Expiry:
    """Parts of one run that are to be removed."""

    run_id: str
    parts: tuple[ExpiredPart, ...]

    @property
    def n_bytes(self) -> int:
        return sum(part.n_bytes for part in self.parts)


@dataclass(frozen=True, kw_only=True)
class _Group:
    """The parts of one class of one run, which expire together."""

    row: Row
    kept: Kept
    parts: tuple[ExpiredPart, ...]
    is_needed: bool

    @property
    def n_bytes(self) -> int:
        return sum(part.n_bytes for part in self.parts)

    @property
    def ended_at(self) -> str:
        return self.row.state.ended_at or ""


def limits_of(settings: Settings) -> dict[Kept, Keep]:
    """The limits by class."""
    return {
        "events": settings.keep_events,
        "checkpoints": settings.keep_checkpoints,
        "outputs": settings.keep_outputs,
        "harvests": settings.keep_harvests,
        "maps": settings.keep_maps,
    }


class Retention:
    """Removes parts of runs by age and size.

    Args:
        artifacts: The store.
        limits: By class; classes that are missing are kept.
        clock: Determines ages.
    """

    def __init__(self, artifacts: ArtifactStore, *, limits: Mapping[Kept, Keep], clock: Clock = utc_now) -> None:
        self._artifacts = artifacts
        self._limits = {kept: limit for kept, limit in limits.items() if limit != Keep()}
        self._clock = clock

    @property
    def is_off(self) -> bool:
        """Whether nothing is limited."""
        return not self._limits

    def plan(self, inventory: Inventory) -> list[Expiry]:
        """What exceeds the limits, by run, oldest run first. inventory: a listing of the same store."""
        if self.is_off:
            return []
        groups = list(self._groups(inventory))
        chosen = [group for kept, limit in self._limits.items() for group in self._over(groups, kept=kept, limit=limit)]
        chosen = _without_broken_resumes(chosen, groups=groups)
        by_run: dict[str, tuple[ExpiredPart, ...]] = {}
        for group in chosen:
            by_run[group.row.record.id] = (*by_run.get(group.row.record.id, ()), *group.parts)
        return [Expiry(run_id=run_id, parts=by_run[run_id]) for run_id in sorted(by_run)]

    def apply(self, plan: Sequence[Expiry]) -> Iterator[Expiry]:
        """Remove what a plan lists; yields what was removed. A run that was resumed since loses nothing."""
        expiry = RunExpiry(self._artifacts, clock=self._clock)
        for item in plan:
            try:
                is_done = expiry.expire(item.run_id, item.parts)
            except DamagedArtifact as error:
                log_damage(error)
                continue
            if is_done:
                yield item

    def _groups(self, inventory: Inventory) -> Iterator[_Group]:
        rows = [
            Row(
                record=record,
                state=state,
                has_outputs=next(inventory.under(f"runs/{record.id}/outputs"), None) is not None,
            )
            for record, state in RunSummaries(self._artifacts).rows(inventory.names("runs"))
        ]
        needed = referenced_runs(rows, artifacts=self._artifacts)
        for row in rows:
            for kept, parts in self._parts(row, inventory).items():
                # A reference is to outputs: the events and checkpoints of a referenced run are not read.
                is_needed = row.record.id in needed and kept not in ("events", "checkpoints")
                yield _Group(row=row, kept=kept, parts=parts, is_needed=is_needed)

    def _parts(self, row: Row, inventory: Inventory) -> dict[Kept, tuple[ExpiredPart, ...]]:
        folder, now = f"runs/{row.record.id}", write_time(self._clock())
        found: dict[Kept, tuple[ExpiredPart, ...]] = {}
        if n_bytes := inventory.n_bytes(f"{folder}/checkpoints"):
            found["checkpoints"] = (ExpiredPart(part="checkpoints", n_bytes=n_bytes, expired_at=now),)
        # A single chunk remains of events that have expired: it has the state.
        if len(list(inventory.under(f"{folder}/events"))) > 1:
            n_bytes = inventory.n_bytes(f"{folder}/events")
            found["events"] = (ExpiredPart(part="events", n_bytes=n_bytes, expired_at=now),)
        outputs = [
            ExpiredPart(
                part="artifact",
                path=unquote(name),
                n_bytes=inventory.n_bytes(f"{folder}/outputs/{name}"),
                expired_at=now,
            )
            for name in inventory.names(f"{folder}/outputs")
        ]
        if outputs:
            found[_CLASS_OF_KIND.get(row.record.kind, "outputs")] = tuple(outputs)
        return found

    def _over(self, groups: Sequence[_Group], *, kept: Kept, limit: Keep) -> Iterator[_Group]:
        """Groups of one class that exceed its limit, oldest first."""
        own = sorted((group for group in groups if group.kept == kept), key=lambda group: group.ended_at)
        n_bytes = sum(group.n_bytes for group in own)
        for group in own:
            if not self._may_expire(group):
                continue
            is_old = limit.age is not None and self._age(group) > limit.age
            # Only its age ends the time in which a run may be resumed.
            is_over = limit.n_bytes is not None and n_bytes > limit.n_bytes and not group.row.is_live
            if is_old or is_over:
                n_bytes -= group.n_bytes
                yield group

    def _may_expire(self, group: _Group) -> bool:
        return group.row.state.has_ended and not group.is_needed and self._age(group) > MIN_AGE

    def _age(self, group: _Group) -> timedelta:
        return self._clock() - read_time(group.ended_at)


def _without_broken_resumes(chosen: Sequence[_Group], *, groups: Sequence[_Group]) -> list[_Group]:
    """The chosen groups, without outputs of resumable runs whose checkpoints stay: a checkpoint may need them."""
    staying = {group.row.record.id for group in groups if group.kept == "checkpoints"}
    staying -= {group.row.record.id for group in chosen if group.kept == "checkpoints"}
    return [
        group
        for group in chosen
        if group.kept in ("events", "checkpoints")
        or group.row.state.status not in RESUMABLE
        or group.row.record.id not in staying
    ]
