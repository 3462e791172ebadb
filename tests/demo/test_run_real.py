"""`python -m demo.run` on real data, with the demo model in place of a pretrained one and data written by the test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from demo.tour.steps import N_QUESTIONS
from tests.demo.real.real_files import write_maths, write_squad

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "demo" / "model"
N_ARTICLES = 200

pytestmark = pytest.mark.timeout(600)


def sums() -> str:
    return "".join(f"What is {i} plus {i + 3}?\n{2 * i + 3}\n" for i in range(10, 400))


def articles() -> dict[str, object]:
    data = []
    for i in range(N_ARTICLES):
        context = f"Mira went to the mill {i}. Hugo is in the cave. Ana has {i} eggs."
        spans = {"Where did Mira go?": f"the mill {i}", "Where is Hugo?": "the cave"}
        qas = [
            {
                "id": f"{i}-{j}",
                "question": question,
                "answers": [{"text": answer, "answer_start": context.index(answer)}],
            }
            for j, (question, answer) in enumerate(spans.items())
        ]
        data.append({"title": f"Article {i}", "paragraphs": [{"context": context, "qas": qas}]})
    return {"data": data}


def run(data: Path, output: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "demo.run", "--model", str(MODEL), "--data", str(data), "--output", str(output)]
    return subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True, timeout=500, check=False)


@pytest.mark.skipif(not (MODEL / "model.safetensors").exists(), reason="the demo model is not trained yet")
def test_the_tour_on_real_data(tmp_path: Path) -> None:
    data, output = tmp_path / "data", tmp_path / "output"
    write_maths(data)
    write_maths(data, {("easy", "add_or_sub"): sums()})
    write_squad(data, articles())
    done = run(data, output, "--steps", "2", "--asked", "6")
    # In two steps the demo model cannot meet the rule, and the exit status says so.
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stderr == (
        "demo: a tuned prompt has not lowered the loss and raised the share of answers in the format as expected\n"
    )
    report = json.loads((output / "report.json").read_text())
    assert [(run["dataset"], run["metric"]) for run in report["runs"]] == [
        ("arithmetic", "accuracy"),
        ("squad", "exact_match"),
    ]
    assert len(report["verdicts"]) == 2
    assert not any(verdict["lifted"] for verdict in report["verdicts"])
    for name, rows in report["before_and_after"].items():
        assert [row["variant"] for row in rows] == [
            "bare",
            "instructed",
            "isotropic 0.02, draw",
            "isotropic 0.02, tuned",
            "fitted, draw",
            "fitted, tuned",
        ]
        for row in rows:
            assert 0 <= row["format"]["value"] <= 1
            assert row["loss"]["low"] <= row["loss"]["value"] <= row["loss"]["high"]
        assert all(("f1" in row) == name.startswith("SQuAD") for row in rows)
    written = (output / "report.md").read_text()
    assert written.count("| instructed | ") == 2
    printed = " ".join(done.stdout.split())
    # Four variants: bare, instructed, soft, the other task's.
    assert f"{2 * 4 * N_QUESTIONS} completions in " in printed
    assert "What a prompt can win" in printed
    assert "tokens of the vocabulary and the tokens of some texts" in printed
    assert (output / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_without_data_one_sentence_says_what_belongs_where(tmp_path: Path) -> None:
    done = run(tmp_path, tmp_path / "output")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"demo: real data are missing in {tmp_path}: put deepmind-math/train-easy/")
    assert "squad-en.json (SQuAD 1.1 or the English part of XQuAD" in line
    assert not (tmp_path / "output").exists()
