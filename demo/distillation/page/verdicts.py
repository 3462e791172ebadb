"""The questions of the experiment, answered by rules from the record."""

from collections.abc import Mapping, Sequence
from typing import Final

from demo.distillation.estimates import Estimate, difference, mean, ratio, right, tokens
from demo.distillation.page.cells import Cell, by_step, chosen, context, source
from demo.distillation.record import Answers, Record
from demo.distillation.size import PARTS, SOURCES

OF_ALL_STEPS: Final = 0.95
OF_HALF: Final = 0.90
TOKENS_OF_HALF: Final = 0.55
POINTS: Final = 0.05
NEARLY: Final = 0.95
"""Share of isotropic's last accuracy that counts as reached: a single wrong answer should not decide."""

ByStep = Mapping[int, Sequence[Answers]]


def verdict_rows(record: Record) -> list[Sequence[str]]:
    """Question, answer and numbers. Students are chosen by validation loss; all numbers are of test chains."""
    teacher = context(record, "teacher")
    rows = [_all_steps(record, teacher), _half(record, teacher), _answer(record)]
    return [*(row for row in rows if row), *_priors(record)]


def _all_steps(record: Record, teacher: Cell) -> Sequence[str]:
    cell = chosen(record, "all steps")
    if cell is None:
        return ()
    found = ratio(right(cell.after), right(teacher.after))
    return (
        f"All steps without the header: at least {OF_ALL_STEPS:.0%} of the teacher's accuracy?",
        "yes" if found.value >= OF_ALL_STEPS else "no",
        f"{cell.method} from {cell.prior}: {_percent(found)} of the teacher's accuracy",
    )


def _half(record: Record, teacher: Cell) -> Sequence[str]:
    cell = chosen(record, "half the tokens")
    if cell is None:
        return ()
    accuracy, length = (ratio(of(cell.after), of(teacher.after)) for of in (right, tokens))
    is_reached = accuracy.value >= OF_HALF and length.value <= TOKENS_OF_HALF
    return (
        f"At least {OF_HALF:.0%} of the teacher's accuracy at {TOKENS_OF_HALF:g} of its tokens?",
        "yes" if is_reached else "no",
        f"{cell.method} from {cell.prior}: {_percent(accuracy)} of the accuracy at {length.value:.2f} of the tokens",
    )


def _answer(record: Record) -> Sequence[str]:
    cell, gold = chosen(record, "the answer"), source(record, "direct")
    if cell is None or gold is None:
        return ()
    found = difference(right(cell.after), right(gold.after))
    direct = mean(right(context(record, "result at once").after))
    return (
        f"The answer alone: at least {100 * POINTS:.0f} points over tuning on correct answers?",
        "yes" if found.value >= POINTS else "no",
        f"{cell.method} from {cell.prior}: {_points(found)} points over tuning; the model under the header of the result "
        f"at once: {100 * direct.value:.1f} %",
    )


def _priors(record: Record) -> list[Sequence[str]]:
    """For each part: the posterior starts that end higher than isotropic, or are as accurate after fewer steps."""
    rows: list[Sequence[str]] = []
    for part in PARTS:
        isotropic = by_step(record, part, "isotropic")
        if not isotropic:
            continue
        higher, faster = [], []
        for prior in SOURCES:
            found = by_step(record, part, prior)
            if not found:
                continue
            points = difference(right(found[max(found)]), right(isotropic[max(isotropic)]))
            if points.low > 0:
                higher.append(f"{prior} {_points(points)} points")
            own, other = earlier(found, isotropic)
            if own is not None:
                faster.append(f"{prior} {own} instead of {other}")
        answer = " and ".join([*(["higher"] if higher else []), *(["fewer steps"] if faster else [])]) or "no"
        numbers = "; ".join([*higher, *(f"{one} steps" for one in faster)])
        rows.append((f"Does a posterior start help a student of {part}?", answer, numbers or "–"))
    return rows


def earlier(own: ByStep, other: ByStep) -> tuple[int | None, int | None]:
    """The steps after which two priors have nearly the last accuracy of the second one; None first unless it is earlier.

    It is earlier only if, after as many steps, the other one is less accurate by an interval above 0.
    """
    last = other[max(other)]
    first, second = steps_to(own, last=last), steps_to(other, last=last)
    if first is None or second is None or first >= second or first not in other:
        return None, second
    is_above = difference(right(own[first]), right(other[first])).low > 0
    return first if is_above else None, second


def steps_to(own: ByStep, *, last: Sequence[Answers]) -> int | None:
    """The first evaluated step with nearly the accuracy of other prompts in nearly their number of tokens; None: none has it.

    A draw that answers in steps has not learned to answer without them.
    """
    goal, most = NEARLY * mean(right(last)).value, mean(tokens(last)).value / NEARLY
    reached = (step for step, found in own.items() if mean(right(found)).value >= goal)
    return next((step for step in reached if mean(tokens(own[step])).value <= most), None)


def _percent(found: Estimate) -> str:
    return f"{100 * found.value:.1f} % ({100 * found.low:.1f} to {100 * found.high:.1f})"


def _points(found: Estimate) -> str:
    return f"{100 * found.value:+.1f} ({100 * found.low:+.1f} to {100 * found.high:+.1f})"
