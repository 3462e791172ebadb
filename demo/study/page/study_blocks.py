"""Blocks of a page that are generated from the record of the study: its size and time, its maps, and the tested reasons."""

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any, Final

from demo.study.plan import StudyPlan
from demo.study.record import Record
from demo.study.schedule import clock
from demo.study.tables import interval, markdown_table, shown


def _plan(record: Record, _plan: StudyPlan) -> str:
    size = record.size
    rows = [
        ("dtype", record.dtype or "–"),
        ("steps, examples per step", f"{size.steps}, {size.batch_size}"),
        ("seeds, vectors", f"{len(size.seeds)}, {size.n_virtual}"),
        ("test examples, validation examples", f"{size.n}, {size.n_validation}"),
        ("tokens of a context, texts of each dataset in the report", f"{size.max_context}, {size.n_report}"),
        ("time limit", clock(60 * (record.minutes or 0))),
        ("time of all runs", clock(record.spent_s)),
        ("a token in a training step", f"{1e6 * (record.token_s or 0):.0f} µs"),
        ("records", ", ".join(f"{name} {n}" for name, n in record.n_records.items())),
        ("runs left out", ", ".join(record.left_out) or "none"),
    ]
    return markdown_table(("", ""), rows)


def _rates(record: Record, _plan: StudyPlan) -> str:
    rows = [
        (kind, rate, shown(loss), "chosen" if float(rate) == record.rates[kind] else "")
        for kind, losses in record.searched.items()
        for rate, loss in losses.items()
    ]
    return markdown_table(("method", "rate", "validation loss of isotropic draws (nats)", ""), rows)


def _runs(record: Record, _plan: StudyPlan) -> str:
    rows = [
        (name, str(len(done.prompts)), clock(done.seconds), clock(done.predicted_s) if done.predicted_s else "–")
        for name, done in record.runs.items()
    ]
    return markdown_table(("run", "prompts", "time", "predicted"), rows)


def _scores(record: Record, _plan: StudyPlan) -> str:
    rows = [
        (
            row["run"],
            row["prior"],
            f"{row['lr']:g}",
            " → ".join(shown(row[form]["loss"]) for form in ("bare", "draw", "tuned")),
            f"{shown(row.get('lowest'))} to {shown(row.get('highest'))}",
            *(
                " → ".join(_percent(row[form][metric]) for form in ("bare", "tuned"))
                for metric in ("exact_match", "f1")
            ),
        )
        for row in record.scores
    ]
    names = (
        "run",
        "prior",
        "rate",
        "test loss: bare → draw → tuned",
        "tuned, lowest to highest",
        "exact match: bare → tuned",
        "F1: bare → tuned",
    )
    return markdown_table(names, rows) if rows else "Not measured."


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.0f} %"


def _maps(record: Record, _plan: StudyPlan) -> str:
    rows = [
        (name, f"{done.facts['n_points']:.0f}", clock(done.seconds))
        for name, done in record.runs.items()
        if "n_points" in done.facts
    ]
    return markdown_table(("map", "points", "time"), rows) if rows else "No map was made."


def _movement(record: Record, _plan: StudyPlan) -> str:
    rows = []
    for row in record.reasons.get("movement", ()):
        last = row["points"][-1] if row["points"] else None
        if last is not None:
            share = last["moved"] / last["bound"] if last["bound"] else 0.0
            name = (row["run"], row["prior"], f"{row['lr']:g}", str(row["steps"]))
            rows.append((name, (last["moved"], share, row["between_draws"])))
    means: dict[tuple[str, ...], list[tuple[float, float, float]]] = {}
    for key, values in rows:
        means.setdefault(key, []).append(values)
    table = [(*key, *(shown(fmean(column)) for column in zip(*values, strict=True))) for key, values in means.items()]
    names = ("run", "prior", "rate", "steps", "distance from the draw", "share of the bound", "distance between draws")
    return markdown_table(names, table) if table else "Not measured."


def _fits(record: Record, _plan: StudyPlan) -> str:
    found: dict[tuple[int, int], dict[str, str]] = {}
    for row in record.reasons.get("fits", ()):
        value = row["log_density"]
        text = "singular" if value is None else shown(value)
        found.setdefault((row["layer"], row["n"]), {})[row["shrinkage"]] = text
    kinds = list(dict.fromkeys(kind for row in found.values() for kind in row))
    table = [(str(layer), str(n), *(row.get(kind, "–") for kind in kinds)) for (layer, n), row in found.items()]
    return markdown_table(("layer", "tokens", *kinds), table) if table else "Not measured."


def _template(record: Record, _plan: StudyPlan) -> str:
    rows: dict[tuple[str, int], dict[str, Mapping[str, Any]]] = {}
    for row in record.reasons.get("template", ()):
        rows.setdefault((" | ".join(row["pair"]), row["layer"]), {})[row["form"]] = row
    table = [
        (pair, str(layer), *(text for form in ("bare", "template") for text in _separation(forms.get(form))))
        for (pair, layer), forms in rows.items()
    ]
    names = ("pair", "layer", "silhouette, bare", "apart", "silhouette, template", "apart")
    return markdown_table(names, table) if table else "Not measured."


def _separation(row: Mapping[str, Any] | None) -> Sequence[str]:
    return ("–", "–") if row is None else (interval(row["silhouette"]), "yes" if row["apart"] else "no")


STUDY_BLOCKS: Final[Mapping[str, Callable[[Record, StudyPlan], str]]] = {
    "plan": _plan,
    "rates": _rates,
    "runs": _runs,
    "scores": _scores,
    "maps": _maps,
    "movement": _movement,
    "fits": _fits,
    "template": _template,
}
"""The generator of each block."""
