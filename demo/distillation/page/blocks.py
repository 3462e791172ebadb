"""The generated tables of the page."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from demo.distillation.estimates import Estimate, difference, mean, ratio, right, tokens
from demo.distillation.page.cells import Cell, by_step, cells, context, source, students
from demo.distillation.page.verdicts import NEARLY, steps_to, verdict_rows
from demo.distillation.record import Answers, Record
from demo.distillation.size import PARTS
from demo.study.tables import markdown_table

CONTEXTS: Final = {
    "bare": "nothing",
    "result at once": "header: result at once",
    "teacher": "header: all steps (the teacher)",
    "be brief": "header: be brief",
}
GOLD: Final = {"direct": "correct answers", "steps": "correct steps"}


def share(found: Estimate) -> str:
    """`93.1 % (90.2 to 95.8)`."""
    return f"{100 * found.value:.1f} % ({100 * found.low:.1f} to {100 * found.high:.1f})"


def number(found: Estimate) -> str:
    """`12.4 (12.1 to 12.8)`."""
    return f"{found.value:.1f} ({found.low:.1f} to {found.high:.1f})"


def made(record: Record) -> str:
    """What was run."""
    size = record.size
    seconds = sum(done.seconds for done in record.runs.values())
    rates = ", ".join(f"{method} {rate:g}" for method, rate in record.rates.items())
    rows = [
        ("model", f"demo-steps, weights {record.revision[:12]}"),
        ("chains", f"{size.n_train} train, {size.n_validation} validation, {size.n_test} test"),
        (
            "training",
            f"{size.steps} steps of {size.batch_size} chains, {len(size.seeds)} seeds, {size.n_virtual} vectors",
        ),
        ("learning rates", rates),
        ("prompts", str(sum(len(done.prompts) for done in record.runs.values()))),
        ("runs", f"{len(record.runs)}, {seconds / 60:.0f} minutes of the workers"),
        ("left out", ", ".join(record.left_out) or "nothing"),
    ]
    return markdown_table(("", ""), rows)


def table(record: Record) -> str:
    """Everything that was evaluated, in one table."""
    teacher = context(record, "teacher")
    rows: list[Sequence[str]] = []
    for what, label in CONTEXTS.items():
        rows.append(_row(("no prompt", label, ""), context(record, what), teacher=teacher))
    for task, label in GOLD.items():
        found = source(record, task)
        if found is not None:
            rows.append(_row(("`tune`", label, "isotropic"), found, teacher=teacher))
    for cell in cells(record, "baseline"):
        kind = "control" if cell.what in ("shuffled", "wrong") else "`distill`"
        label = f"{cell.what} steps" if kind == "control" else cell.what
        rows.append(_row((f"{kind}, soft", label, cell.prior), cell, teacher=teacher))
    for part in PARTS:
        rows += [
            _row((f"student, {cell.method}", part, cell.prior), cell, teacher=teacher)
            for cell in students(record, part)
        ]
    columns = ("", "learned, or in the context", "prior", "draw", "accuracy", "tokens", "of the teacher's tokens")
    return markdown_table(columns, rows)


def _row(names: Sequence[str], cell: Cell, *, teacher: Cell) -> Sequence[str]:
    drawn = f"{100 * mean(right(cell.before)).value:.0f} %" if cell.before else ""
    relative = ratio(tokens(cell.after), tokens(teacher.after))
    return (*names, drawn, share(cell.accuracy), number(cell.length), f"{relative.value:.2f}")


def priors(record: Record) -> str:
    """By part and prior of the soft students: accuracy at each evaluated step, and the final difference to isotropic."""
    blocks = []
    for part in PARTS:
        found = {prior: by_step(record, part, prior) for prior in record.size.priors}
        found = {prior: steps for prior, steps in found.items() if steps}
        if "isotropic" not in found:
            continue
        steps = sorted({step for own in found.values() for step in own})
        goal = _final(found["isotropic"])
        rows = [_prior_row(prior, own, steps=steps, goal=goal) for prior, own in found.items()]
        columns = (
            "prior",
            *(f"step {step}" for step in steps),
            f"steps to {NEARLY:.0%} of isotropic's last",
            "difference at the end",
        )
        blocks.append(f"Students of *{part}*:\n\n{markdown_table(columns, rows)}")
    return "\n".join(blocks)


def _prior_row(
    prior: str, own: Mapping[int, Sequence[Answers]], *, steps: Sequence[int], goal: Sequence[Answers]
) -> Sequence[str]:
    reached = steps_to(own, last=goal)
    shown = (f"{100 * mean(right(own[step])).value:.1f} %" if step in own else "–" for step in steps)
    points = difference(right(_final(own)), right(goal))
    change = (
        ""
        if prior == "isotropic"
        else f"{100 * points.value:+.1f} ({100 * points.low:+.1f} to {100 * points.high:+.1f})"
    )
    return (prior, *shown, "never" if reached is None else str(reached), change)


def _final(own: Mapping[int, Sequence[Answers]]) -> Sequence[Answers]:
    return own[max(own)]


def capacity(record: Record) -> str:
    """Students of the answer by number of vectors and by layer, and what the states know by layer."""
    rows = [(_capacity_label(cell.what), share(cell.accuracy)) for cell in cells(record, "capacity")]
    found = markdown_table((f"student of the answer, {record.size.longer} steps", "accuracy"), rows)
    return f"{found}\n{_probes(record)}" if record.probes else found


def _capacity_label(what: str) -> str:
    kind, _, number = what.partition("-")
    return f"{number} vectors at the embeddings" if kind == "width" else f"vectors at layer {number} and above it"


def _probes(record: Record) -> str:
    """Accuracy at the best layer, by variant and number of hands."""
    counts = sorted({row["n_hands"] for row in record.probes})
    rows = []
    for name in dict.fromkeys(row["variant"] for row in record.probes):
        own = [row for row in record.probes if row["variant"] == name]
        best = [max((row for row in own if row["n_hands"] == n), key=lambda row: row["accuracy"]) for n in counts]
        rows.append((name, *(f"{100 * row['accuracy']:.0f} % (layer {row['layer']})" for row in best)))
    columns = ("before the answer", *(f"{n} hand{'s' if n > 1 else ''}" for n in counts))
    lead = "Accuracy of linear probes for the holder after so many hands, at the best layer (one of ten listed people: 10 %)"
    return f"{lead}:\n\n{markdown_table(columns, rows)}"


def verdicts(record: Record) -> str:
    """The questions and their answers."""
    return markdown_table(("question", "answer", "numbers"), verdict_rows(record))


BLOCKS: Final[Mapping[str, Callable[[Record], str]]] = {
    "made": made,
    "verdicts": verdicts,
    "table": table,
    "priors": priors,
    "capacity": capacity,
}
"""The generator of each block of the page."""
