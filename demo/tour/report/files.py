"""The files of a tour: report.json and report.md."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from demo.tour.outcomes import Outcome
from demo.tour.report import comparison
from demo.tour.report.tables import as_json, markdown
from demo.tour.report.verdict import Verdict


def write_report(
    output: Path,
    outcomes: Sequence[Outcome],
    *,
    verdicts: Sequence[Verdict],
    comparisons: Mapping[str, Sequence[comparison.Row]],
) -> None:
    """Write the tables of all runs. comparisons: rows before and after tuning, by the title of a run."""
    facts = {"verdicts": [verdict.fields() for verdict in verdicts]}
    before_and_after = {title: comparison.as_fields(rows) for title, rows in comparisons.items()}
    known = {"before_and_after": before_and_after} if before_and_after else {}
    (output / "report.json").write_text(as_json(outcomes, **facts, **known), encoding="utf-8")
    parts = [markdown(outcomes)]
    parts += [f"{title}, before and after\n\n{comparison.markdown_table(rows)}" for title, rows in comparisons.items()]
    legend = [comparison.LEGEND + "\n"] if comparisons else []
    (output / "report.md").write_text("\n".join([*parts, *legend]), encoding="utf-8")
