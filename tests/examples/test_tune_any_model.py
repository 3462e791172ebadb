"""The example for any model: what its command line means, and all of it once, on small files with a model of random weights."""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pytest
from promptatlas.types import TuneSpec

from tests.demo.tour.test_jobs import sent
from tests.integration.tiny_model import save_tiny_model

ROOT = Path(__file__).parents[2]


def _script() -> ModuleType:
    """Not by its dotted name: others install a package `examples` too."""
    spec = importlib.util.spec_from_file_location("tune_any_model", ROOT / "examples" / "tune_any_model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


script = _script()


def chosen(*more: str) -> argparse.Namespace:
    parsed: argparse.Namespace = script.parser().parse_args(
        ["--model", "m", "--data", "demo-qa", "--prior", "isotropic", *more]
    )
    return parsed


def test_data_is_a_format_with_a_file_or_a_name(tmp_path: Path) -> None:
    file = tmp_path / "Squad EN.v1.json"
    file.touch()
    found = script.data_of(f"squad={file}")
    assert (found.name, found.format, found.path, found.metric) == ("squad-en.v1", "squad", file, "f1")
    assert script.data_of(f"gsm8k:mine={file}").name == "mine"
    there = script.data_of("hub:owner/name")
    assert (there.name, there.path) == ("hub:owner/name", None)


@pytest.mark.parametrize(("text", "said"), [("csv=a", "got 'csv'"), ("squad=/nowhere", "no file /nowhere")])
def test_data_that_cannot_be_is_refused(text: str, said: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=said):
        script.data_of(text)


@pytest.mark.parametrize("name", script.PRIORS)
@pytest.mark.parametrize("method", ["soft", "deep", "prefix"])
def test_every_short_prior_makes_a_spec_for_every_method(name: str, method: str) -> None:
    options = chosen(
        "--method", method, "--prior", name, "--prior", '{"kind": "isotropic", "std": 3.0}', "--lr", "0.1", "0.2"
    )
    given = sent(script.job_of(script.Data(name="d", metric="f1"), chosen=options))
    assert given.pop("run_name") == f"d, {method}"
    spec = TuneSpec.model_validate(given)
    assert spec.method.kind == method
    assert spec.optimizer.lr == [0.1, 0.2]
    assert spec.eval.metrics == ["f1", "loss"]
    assert len(spec.priors) == (2 if name == "isotropic" else 3)


def test_a_prior_that_is_neither_name_nor_json_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"isotropic, xavier.* got 'izotropic'"):
        script.prior_of("izotropic", dataset="d", n_texts=5)


def test_a_service_that_is_named_is_used() -> None:
    with script.service_of(chosen(), environ={"PROMPTATLAS_URL": "http://there"}) as found:
        assert found == ("http://there", "m")


def test_texts_are_cut_to_what_fits() -> None:
    assert script.fitting(["abcdef", "", "aé"], n_tokens=4) == ["abc", "aé"]
    assert script.fitting(["aaé"], n_tokens=4) == ["aa"]


def squad(n: int) -> str:
    return json.dumps(
        {
            "version": "1.1",
            "data": [
                {
                    "title": "t",
                    "paragraphs": [
                        {
                            "context": f"Box {i} holds {i} pears.",
                            "qas": [
                                {
                                    "id": str(i),
                                    "question": "How many?",
                                    "answers": [{"text": str(i), "answer_start": 10}],
                                }
                            ],
                        }
                        for i in range(n)
                    ],
                }
            ],
        }
    )


def test_it_tunes_and_reports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("PROMPTATLAS_URL", raising=False)
    save_tiny_model(tmp_path / "tiny")
    (tmp_path / "boxes.json").write_text(squad(60))
    sums = tmp_path / "sums"
    sums.mkdir()
    for part in (0, 1):
        lines = "".join(f"What is {i} plus {part}?\n{i + part}\n" for i in range(40))
        (sums / f"{part}.txt").write_text(lines.rstrip() if part else lines)
    output = tmp_path / "out"
    status = script.main(
        [
            "--model",
            str(tmp_path / "tiny"),
            "--data",
            f"squad={tmp_path / 'boxes.json'}",
            "--data",
            f"deepmind-math={sums}",
            "--prior",
            "isotropic",
            "--prior",
            "fitted",
            "--seeds",
            "5",
            "--steps",
            "2",
            "--batch-size",
            "2",
            "--n-virtual",
            "3",
            "--asked",
            "2",
            "--max-tokens",
            "2",
            "--fit-texts",
            "8",
            "--method",
            "deep",
            "--output",
            str(output),
        ]
    )
    captured = capsys.readouterr()
    assert status == 0, captured.err
    assert len(re.findall(r"^(?:isotropic|fitted) +5 +\d+ % → \d+ %", captured.out, re.MULTILINE)) == 4
    report = json.loads((output / "report.json").read_text())
    assert [(run["dataset"], run["metric"]) for run in report["runs"]] == [("boxes", "f1"), ("sums", "exact_match")]
    for run in report["runs"]:
        assert [member["prior"]["kind"] for member in run["members"]] == ["isotropic", "gaussian"]
        assert all(set(member["distances_by_tensor"]) == {"deep.0", "deep.1", "deep.2"} for member in run["members"])
    assert (output / "report.md").read_text().replace("**", "").count("| fitted | 5 |") == 2


def test_what_the_service_refuses_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PROMPTATLAS_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(script, "Client", _refusing)
    assert script.main(["--model", "m", "--data", "demo-qa", "--prior", "isotropic", "--output", str(tmp_path)]) == 1
    assert "tune_any_model: " in capsys.readouterr().err


def _refusing(url: str, *, progress: bool) -> object:
    from promptatlas import ConnectionFailedError

    raise ConnectionFailedError(f"{url} cannot be reached")
