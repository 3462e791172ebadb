"""The members of a tuning run: the product priors × seeds × rates, and what each one's prompt is called.

Kept in one place, so that names are known to be possible before anything is tuned under them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from promptatlas.types import Prior, TuneSpec

from service.errors import InvalidRequest
from service.planning.specs import Loc
from service.store.prompts.manifests import MAX_NAME

MAX_MEMBERS = 4096

RUN_ID_CHARACTERS = 21
"""Of a run's id; a prompt of a run without a name is called ``tuned-{run id}``."""


@dataclass(frozen=True, kw_only=True)
class PlannedMember:
    """One member. suffix: of its prompt's name, empty where it is the only member. lr: its learning rate."""

    prior_index: int
    prior: Prior
    seed: int
    lr: float
    suffix: str


def rates_of(spec: TuneSpec) -> list[float]:
    """The learning rates, one or several."""
    lr = spec.optimizer.lr
    return list(lr) if isinstance(lr, list) else [lr]


def members_of(spec: TuneSpec) -> list[PlannedMember]:
    """All members, in order: priors outermost, then seeds, then rates."""
    rates = rates_of(spec)
    labels = prior_labels(spec.priors)
    is_alone = len(spec.priors) * len(spec.seeds) * len(rates) == 1
    return [
        PlannedMember(
            prior_index=index,
            prior=prior,
            seed=seed,
            lr=lr,
            suffix="" if is_alone else f"-{labels[index]}-{seed}" + (f"-lr{lr!r}" if len(rates) > 1 else ""),
        )
        for index, prior in enumerate(spec.priors)
        for seed in spec.seeds
        for lr in rates
    ]


def prior_labels(priors: Sequence[Prior]) -> list[str]:
    """What each prior is called: its kind, numbered from 1 where a kind stands several times."""
    counts = Counter(prior.kind for prior in priors)
    seen: Counter[str] = Counter()
    labels = []
    for prior in priors:
        seen[prior.kind] += 1
        labels.append(f"{prior.kind}{seen[prior.kind]}" if counts[prior.kind] > 1 else prior.kind)
    return labels


def prompt_name(spec: TuneSpec, member: PlannedMember, *, run_id: str) -> str:
    """Name of the prompt that a member becomes."""
    return f"{spec.name or f'tuned-{run_id}'}{member.suffix}"


def check_members(spec: TuneSpec) -> None:
    """Refuse too many members, members that are one another's copies, and names that would be too long.

    Raises:
        InvalidRequest: at the field.
    """
    rates = rates_of(spec)
    if not rates:
        raise InvalidRequest("Expected at least one learning rate, got an empty list.", loc=("optimizer", "lr"))
    n_members = len(spec.priors) * len(spec.seeds) * len(rates)
    if n_members > MAX_MEMBERS:
        raise InvalidRequest(
            f"A run has at most {MAX_MEMBERS} members; {len(spec.priors)} priors × {len(spec.seeds)} seeds × "
            f"{len(rates)} rates are {n_members}.",
            loc=("priors",),
        )
    _require_distinct(spec.seeds, at=("seeds",))
    _require_distinct(rates, at=("optimizer", "lr"))
    _require_distinct([prior.model_dump_json(by_alias=True) for prior in spec.priors], at=("priors",), shown=False)
    longest = max((prompt_name(spec, member, run_id="r" * RUN_ID_CHARACTERS) for member in members_of(spec)), key=len)
    if len(longest) > MAX_NAME:
        raise InvalidRequest(
            f"The name of a member would have {len(longest)} characters, {longest!r}; a prompt's has at most {MAX_NAME}.",
            loc=("name",),
        )


def _require_distinct(values: Sequence[object], *, at: Loc, shown: bool = True) -> None:
    seen: dict[object, int] = {}
    for index, value in enumerate(values):
        if value in seen:
            what = f"{value!r}" if shown else "the same"
            raise InvalidRequest(
                f"Expected each once, but {what} stands at {seen[value]} and at {index}: their members would be one.",
                loc=(*at, index),
            )
        seen[value] = index
