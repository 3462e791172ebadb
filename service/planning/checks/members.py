"""The members of a tuning run, the product priors × seeds × learning rates, and the names of their prompts.

Planning and the workers use the same functions, so names are validated before anything is tuned.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from promptatlas.types import Prior, TuneSpec

from service.errors import InvalidRequest
from service.planning.checks.distinct import require_distinct
from service.store.prompts.manifests import MAX_NAME

MAX_MEMBERS = 4096

RUN_ID_CHARACTERS = 21
"""Length of a run's id; the prompt of a run without a name is ``tuned-{run id}``."""


@dataclass(frozen=True, kw_only=True)
class PlannedMember:
    """One member. lr: learning rate. suffix: of its prompt's name; empty for a single member."""

    prior_index: int
    prior: Prior
    seed: int
    lr: float
    suffix: str


def rates_of(spec: TuneSpec) -> list[float]:
    """The learning rates of a spec."""
    lr = spec.optimizer.lr
    return list(lr) if isinstance(lr, list) else [lr]


def members_of(spec: TuneSpec) -> list[PlannedMember]:
    """All members, in order: priors outermost, then seeds, then rates."""
    rates = rates_of(spec)
    kinds = numbered_kinds(spec.priors)
    is_single = len(spec.priors) * len(spec.seeds) * len(rates) == 1
    return [
        PlannedMember(
            prior_index=index,
            prior=prior,
            seed=seed,
            lr=lr,
            suffix="" if is_single else f"-{kinds[index]}-{seed}" + (f"-lr{lr!r}" if len(rates) > 1 else ""),
        )
        for index, prior in enumerate(spec.priors)
        for seed in spec.seeds
        for lr in rates
    ]


def numbered_kinds(priors: Sequence[Prior]) -> list[str]:
    """The kind of each prior, numbered from 1 if the list has several of that kind, e.g. ``gaussian2``."""
    counts = Counter(prior.kind for prior in priors)
    seen: Counter[str] = Counter()
    kinds = []
    for prior in priors:
        seen[prior.kind] += 1
        kinds.append(f"{prior.kind}{seen[prior.kind]}" if counts[prior.kind] > 1 else prior.kind)
    return kinds


def prompt_name(spec: TuneSpec, member: PlannedMember, *, run_id: str) -> str:
    """Name of a member's prompt."""
    return f"{spec.name or f'tuned-{run_id}'}{member.suffix}"


def check_members(spec: TuneSpec) -> None:
    """Refuse too many members, equal members, and names that are too long.

    Raises:
        InvalidRequest: at the field.
    """
    rates = rates_of(spec)
    if not rates:
        raise InvalidRequest("Expected at least one learning rate, got an empty list.", loc=("optimizer", "lr"))
    n_members = len(spec.priors) * len(spec.seeds) * len(rates)
    if n_members > MAX_MEMBERS:
        raise InvalidRequest(
            f"Expected at most {MAX_MEMBERS} members; {len(spec.priors)} priors × {len(spec.seeds)} seeds × {len(rates)} "
            f"learning rates are {n_members}.",
            loc=("priors",),
        )
    require_distinct(spec.seeds, what="seeds", at=("seeds",))
    require_distinct(rates, what="learning rates", at=("optimizer", "lr"))
    require_distinct([prior.model_dump_json(by_alias=True) for prior in spec.priors], what="priors", at=("priors",))
    longest = max((prompt_name(spec, member, run_id="r" * RUN_ID_CHARACTERS) for member in members_of(spec)), key=len)
    if len(longest) > MAX_NAME:
        raise InvalidRequest(
            f"Expected prompt names of at most {MAX_NAME} characters; {longest!r} has {len(longest)}.",
            loc=("name",),
        )
