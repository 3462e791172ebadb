"""`python -m demo.distill --quick` on a real service: every kind of run, and its record."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from demo.distill import WEIGHTS, Options, experiment, main
from demo.distillation.page.blocks import BLOCKS
from demo.distillation.page.verdicts import verdict_rows
from demo.distillation.record import load_record
from demo.distillation.size import QUICK
from service.queueing.embedded_redis import find_server

pytestmark = [
    pytest.mark.skipif(find_server() is None, reason="no redis-server here"),
    pytest.mark.timeout(1200),
]


def test_a_quick_experiment_has_every_result(tmp_path: Path) -> None:
    options = Options(output=tmp_path, weights=WEIGHTS, size=QUICK, minutes=60, keep=False)
    record = experiment(options, console=Console(file=io.StringIO()))
    assert load_record(tmp_path, size=QUICK) == record
    assert not record.left_out
    groups = {one.group for one in record.answers}
    assert groups == {"context", "source", "student", "baseline", "capacity"}
    assert {len(one.right) for one in record.answers} == {QUICK.n_test}
    assert {one.step for one in record.answers if one.stage == "during"} == {1}
    n_layers = 6
    assert len(record.probes) == 4 * n_layers * 5
    assert len(record.spread["vocabulary"]) == QUICK.n_map
    assert {name for name in record.spread if name.startswith("tuned")} == {"tuned: direct", "tuned: steps"}
    assert len(verdict_rows(record)) == 6
    for make in BLOCKS.values():
        assert make(record)


def test_a_limit_that_is_no_number_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--minutes", "0"])
    assert "expected a positive number of minutes" in capsys.readouterr().err
