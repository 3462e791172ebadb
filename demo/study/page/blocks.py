"""Blocks of a page of findings that are generated from the report."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from promptatlas.types import Report

from demo.study.tables import interval, markdown_table, shown
from workers.reports.rendering.labels import label, part_label

STATES: Final[Mapping[Any, str]] = {True: "holds", False: "does not hold", None: "open"}
MAX_PARTS: Final = 12
"""A rule with more parts is summarised by the counts of their states."""


def _made(report: Report) -> str:
    spec = report.spec
    rows = [
        ("model", f"{report.model}, weights {report.revision[:12]}"),
        ("prompts", f"{len(spec['prompts'])}, of which {len(report.collapse)} have vectors among the states"),
        ("datasets", f"{', '.join(spec['datasets'])}; {spec['n']} texts of each"),
        ("trajectories", f"{spec['n_trajectories']} of each dataset, up to {spec['max_tokens']} tokens"),
        ("resamplings", f"{spec['samples']}, seed {spec['seed']}"),
        ("versions", ", ".join(f"{name} {version}" for name, version in report.versions.items())),
    ]
    return markdown_table(("", ""), rows)


def _verdicts(report: Report) -> str:
    rows = []
    for finding in report.findings:
        parts = finding.numbers.get("parts", {})
        states = [STATES[state] for state in parts.values()]
        counts = ", ".join(f"{states.count(state)} {state}" for state in STATES.values() if state in states)
        rows.append((f"{finding.number}. {finding.title}", f"**{finding.verdict}**", counts or finding.missing or ""))
    return markdown_table(("finding", "verdict", "parts of the rule"), rows)


def _finding(number: int, tables: Callable[[Mapping[str, Any]], Iterable[str]]) -> Callable[[Report], str]:
    def block(report: Report) -> str:
        found = next(finding for finding in report.findings if finding.number == number)
        lines = [f"**{found.verdict}.** {found.rule}", ""]
        if not found.numbers:
            return "\n".join([*lines, f"Requires {found.missing}."])
        parts = found.numbers["parts"]
        if len(parts) <= MAX_PARTS:
            lines += [*(f"- {part_label(name)}: {STATES[state]}" for name, state in parts.items()), ""]
        return "\n".join([*lines, "\n".join(tables(found.numbers))])

    return block


def _captioned(caption: str, table: str) -> Iterable[str]:
    yield from (f"{caption}:", "", table)


def _by_label(columns: Mapping[str, Mapping[str, Any]], *, first: str) -> str:
    """One table from several columns of intervals with common labels."""
    keys = list(dict.fromkeys(key for column in columns.values() for key in column))
    rows = [(key, *(interval(column.get(key)) for column in columns.values())) for key in keys]
    return markdown_table((first, *map(label, columns)), rows)


def _test(name: str, test: Mapping[str, float] | None) -> str:
    if test is None:
        return f"{name}: could not be tested."
    what, value = next(iter(test.items()))
    return f"{name}: {what} {shown(value)}, p {shown(test['p_value'])}."


def _displacement(numbers: Mapping[str, Any]) -> Iterable[str]:
    yield _test("Mahalanobis distance of draw and posterior", numbers["draw_and_posterior_mahalanobis"])
    yield ""
    yield from _captioned("By method and rate", _by_label(numbers["by_method_and_rate"], first="method and rate"))
    for method, columns in numbers["by_prior"].items():
        yield from _captioned(method, _by_label(columns, first="prior"))


def _quality(numbers: Mapping[str, Any]) -> Iterable[str]:
    yield _test("Mahalanobis distance of the draw and steps to the common loss", numbers["distance_of_draw_and_steps"])
    yield ""
    for group, table in numbers["groups"].items():
        names = {"by_prior": table["score"], "best_validation_loss": "best validation loss (nats)"}
        names["steps_to_common_loss"] = f"steps to {shown(table.get('common_loss'))} nats"
        columns = {name: table[key] for key, name in names.items() if key in table}
        tested = _test("scores by prior", table["differs_by_prior"])
        spread = f"range of means {shown(table['spread_of_means'])}"
        yield from _captioned(f"{group} ({spread}; {tested.rstrip('.')})", _by_label(columns, first="prior"))


def _collapse(numbers: Mapping[str, Any]) -> Iterable[str]:
    yield f"{numbers['n_collapsed']} of {numbers['n_prompts']} prompts have collapsed. "
    yield _test("Cosine to the nearest token by prior", numbers["nearest_cosine_differs_by_prior"])
    yield _test("By rate", numbers["nearest_cosine_differs_by_rate"])
    yield ""
    for method, columns in numbers["by_prior"].items():
        yield from _captioned(method, _by_label(columns, first="prior"))
    for name, columns in numbers["by_rate"].items():
        yield from _captioned(f"{name}, by rate", _by_label(columns, first="rate"))


def _trajectories(numbers: Mapping[str, Any]) -> Iterable[str]:
    """For each dataset: the ratio at the embeddings for both null models, and its range over the layers above."""
    rows: dict[str, dict[str, list[str | float]]] = {}
    for measure, ratios in numbers["ratios"].items():
        for name, ratio in ratios.items():
            dataset, layer, null = name.split(", ")
            where = "above" if layer != "layer 0" else f"at the embeddings, walk over the {null}"
            value = ratio["value"] if where == "above" else interval(ratio)
            rows.setdefault(dataset, {}).setdefault(f"{label(measure)}, {where}", []).append(value)
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    yield "Ratio to the random walk. For the layers above the embeddings, the range over layers:"
    yield ""
    yield markdown_table(
        ("dataset", *columns),
        [(dataset, *(_range(row.get(name, [])) for name in columns)) for dataset, row in rows.items()],
    )


def _range(values: Sequence[str | float]) -> str:
    numbers = [value for value in values if not isinstance(value, str)]
    return f"{shown(min(numbers))} to {shown(max(numbers))}" if numbers else ", ".join(map(str, values))


def _tasks(numbers: Mapping[str, Any]) -> Iterable[str]:
    measures = ("silhouette_texts", "silhouette_tokens", "probe_accuracy_tokens")
    rows = [
        (
            pair,
            shown(row["total_variation"]),
            f"{', '.join(map(str, row['apart_at'])) or 'none'} of {row['n_layers']}",
            *(shown(row.get(measure)) for measure in measures),
        )
        for pair, row in numbers["pairs"].items()
    ]
    names = (f"{label(measure)}, median layer" for measure in measures)
    yield markdown_table(("pair", label("total_variation"), label("apart_at"), *names), rows)


def _interpolation(numbers: Mapping[str, Any]) -> Iterable[str]:
    rows = [
        (group, interval(row["interpolation"]), shown(row["median_of_other_priors"]))
        for group, row in numbers["groups"].items()
    ]
    yield markdown_table(("group", "interpolation", "median of other priors"), rows)


def _shape(numbers: Mapping[str, Any]) -> Iterable[str]:
    shares = ", ".join(f"{part_label(name)} {shown(share)}" for name, share in numbers["shares"].items())
    yield f"Shares of {numbers['n_clouds']} clouds of natural language: {shares}. Medians over layers:"
    yield ""
    measures = list(dict.fromkeys(name for row in numbers["by_dataset"].values() for name in row))
    rows = [
        (name, shown(numbers["share_letters"][name]), *(shown(row.get(measure)) for measure in measures))
        for name, row in numbers["by_dataset"].items()
    ]
    yield markdown_table(("dataset", "share of letters", *map(label, measures)), rows)


REPORT_BLOCKS: Final[Mapping[str, Callable[[Report], str]]] = {
    "made": _made,
    "verdicts": _verdicts,
    "finding-1": _finding(1, _displacement),
    "finding-2": _finding(2, _quality),
    "finding-3": _finding(3, _collapse),
    "finding-4": _finding(4, _trajectories),
    "finding-5": _finding(5, _tasks),
    "finding-6": _finding(6, _interpolation),
    "finding-7": _finding(7, _shape),
}
"""The generator of each block of the page."""
