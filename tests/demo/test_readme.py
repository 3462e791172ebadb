"""The tour of the README, executed on the demo model: the output on the page is the actual output."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from demo.readme import ROOT, TABLE, Step, run_tour, tour_of, with_outputs, with_table
from demo.tour.tour import Size
from demo.tour.tours.demo_model import plan

MODEL = ROOT / "demo" / "model" / "model.safetensors"
NUMBER = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")
PAGE = """# A
## Five minutes
```bash
echo one
```
```
one
```
Then:
```python
print(2)
```
```
two
```
## Next
```bash
echo three
```
```
three
```
"""


def test_steps_are_blocks_with_an_output() -> None:
    assert tour_of(PAGE) == [Step("bash", "echo one\n", "one\n"), Step("python", "print(2)\n", "two\n")]


def test_outputs_are_replaced_in_place() -> None:
    changed = with_outputs(PAGE, outputs=["1\n", "2\n"])
    assert [step.printed for step in tour_of(changed)] == ["1\n", "2\n"]
    assert changed.replace("\n1\n", "\none\n").replace("\n2\n", "\ntwo\n") == PAGE


OLD = "| prior | seed | x |\n| --- | --- | --- |\n| a | 0 | old |\n"
NEW = "| prior | seed | y |\n| --- | --- | --- |\n| **b** | **0** | **new** |\n| c | 1 | new |\n"


def test_the_first_table_of_a_report_replaces_the_table_of_the_page() -> None:
    page = f"Before:\n\n{OLD}\nAfter.\n| other | table |\n"
    assert with_table(page, report=f"one\n\n{NEW}\ntwo\n\n{OLD}") == f"Before:\n\n{NEW}\nAfter.\n| other | table |\n"
    with pytest.raises(LookupError, match="expected a table"):
        with_table("no table", report=NEW)


def test_the_page_has_a_row_for_each_prompt_of_a_run() -> None:
    table = TABLE.search((ROOT / "README.md").read_text(encoding="utf-8"))
    assert table is not None
    first = plan(Size())[0]
    rows = [line.replace("*", "").split(" | ") for line in table[0].splitlines()[2:]]
    assert [row[0].removeprefix("| ") for row in rows] == [label for label in first.priors for _ in first.seeds]
    assert all("→" in row[2] for row in rows)


def plain(output: str) -> str:
    """The output without ids and times, and without decimal numbers, whose last digits depend on the processor."""
    output = re.sub(r'"id":"cmpl-\w+"', '"id":"…"', output)
    output = re.sub(r'"created":\d+', '"created":…', output)
    return NUMBER.sub("#", output)


@pytest.mark.timeout(600)
@pytest.mark.skipif(not MODEL.exists(), reason="the demo model is not trained yet")
def test_the_tour_prints_what_the_page_says() -> None:
    steps = tour_of(Path(ROOT / "README.md").read_text(encoding="utf-8"))
    assert [step.language for step in steps] == ["bash", "python", "bash"]
    for step, printed in zip(steps, run_tour(steps), strict=True):
        assert plain(printed) == plain(step.printed)
        pairs = zip(NUMBER.findall(printed), NUMBER.findall(step.printed), strict=True)
        assert all(math.isclose(float(real), float(said), rel_tol=1e-2, abs_tol=1e-3) for real, said in pairs), printed
