"""Cells of the experiment: the prompts of one method, part and prior, over seeds, with their accuracy and length."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from demo.distillation.estimates import Estimate, mean, right, tokens
from demo.distillation.record import Answers, Record
from demo.distillation.size import PARTS, Part


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Prompts that differ in their seeds only. before: their draws. loss: mean of the validation losses."""

    group: str
    method: str
    what: str
    prior: str
    after: Sequence[Answers]
    before: Sequence[Answers] = ()

    @property
    def accuracy(self) -> Estimate:
        return mean(right(self.after))

    @property
    def length(self) -> Estimate:
        return mean(tokens(self.after))

    @property
    def loss(self) -> float:
        losses = [one.loss for one in self.after if one.loss is not None]
        return fmean(losses) if losses else float("inf")


def context(record: Record, what: str) -> Cell:
    """The model with a header in its context, or without anything; KeyError if it was not evaluated."""
    found = [one for one in record.answers if (one.group, one.what) == ("context", what)]
    if not found:
        raise KeyError(what)
    return Cell(group="context", method="", what=what, prior="", after=found)


def cells(record: Record, group: str) -> list[Cell]:
    """All cells of a group, in the order of the runs. Of several rates, the one with the lowest validation loss is kept."""
    keys: dict[tuple[str, str, str, str], None] = {}
    for one in _of(record, lambda one: one.group == group):
        keys[one.run, one.method, one.what, one.prior] = None
    return [_cell(record, group=group, key=key) for key in keys]


def students(record: Record, part: Part | None = None) -> list[Cell]:
    """The students of a part, or of all parts."""
    return [cell for cell in cells(record, "student") if part in (None, cell.what)]


def chosen(record: Record, part: Part) -> Cell | None:
    """The students of a part with the lowest validation loss. Test chains do not influence the choice."""
    return min(students(record, part), key=lambda cell: cell.loss, default=None)


def source(record: Record, task: str, method: str = "soft") -> Cell | None:
    """The prompts that were tuned on correct answers (``direct``) or correct steps (``steps``)."""
    found = [cell for cell in cells(record, "source") if (cell.method, cell.what) == (method, task)]
    return found[0] if found else None


def by_step(record: Record, part: Part, prior: str) -> dict[int, list[Answers]]:
    """The soft students of a part and prior at each evaluated step; 0 is the draw."""
    if part not in PARTS:
        raise ValueError(f"expected one of {', '.join(PARTS)}, got {part}")
    wanted = ("student", "soft", part, prior)
    found: dict[int, list[Answers]] = {}
    for one in _of(record, lambda one: (one.group, one.method, one.what, one.prior) == wanted):
        found.setdefault(one.step, []).append(one)
    return dict(sorted(found.items()))


def _cell(record: Record, *, group: str, key: tuple[str, str, str, str]) -> Cell:
    run, method, what, prior = key
    own = list(_of(record, lambda one: (one.run, one.prior) == (run, prior)))
    rates = sorted({one.rate for one in own})
    by_rate = [
        Cell(
            group=group,
            method=method,
            what=what,
            prior=prior,
            after=[one for one in own if one.rate == rate and one.stage == "after"],
            before=[one for one in own if one.rate == rate and one.stage == "before"],
        )
        for rate in rates
    ]
    return min(by_rate, key=lambda cell: cell.loss)


def _of(record: Record, is_wanted: Callable[[Answers], bool]) -> Iterable[Answers]:
    return (one for one in record.answers if is_wanted(one))
