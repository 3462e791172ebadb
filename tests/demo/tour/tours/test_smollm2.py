"""The tour of pretrained models: its specs, its datasets, and what happens without data or model."""

from __future__ import annotations

from pathlib import Path

import pytest
from promptatlas.types import MapSpec, TuneSpec

from demo.models.smollm2 import PATH, NotFetched
from demo.real.folder import MissingData
from demo.tour.tour import Size, Tour
from demo.tour.tours import choice, smollm2
from demo.tour.tours.choice import choose
from demo.tour.tours.smollm2 import PLANS, REFERENCE, real_tour
from tests.demo.real.real_files import write_maths, write_squad
from tests.demo.tour.test_jobs import sent


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_maths(tmp_path)
    write_squad(tmp_path)
    return tmp_path


def tour(data: Path, *, size: Size | None = None) -> Tour:
    return real_tour(size or Size(), data=data, path=Path("model.gguf"), model="m")


def test_each_run_is_a_valid_spec_with_two_priors(data: Path) -> None:
    for plan, job in zip(PLANS, tour(data).jobs, strict=True):
        given = sent(job)
        given.pop("run_name")
        spec = TuneSpec.model_validate(given)
        assert [prior.kind for prior in spec.priors] == ["isotropic", "gaussian"]
        assert spec.eval.metrics == [plan.metric, *plan.also, "loss"]
        assert spec.eval.max_tokens == plan.answer_tokens
        assert spec.method.kind == "soft"


def test_the_size_can_be_chosen(data: Path) -> None:
    small = tour(data, size=Size(n_steps=3, n_asked=5, n_seeds=2, dtype="bfloat16"))
    assert {(job.optimizer["steps"], job.eval["every"], job.eval["n"], job.seeds) for job in small.jobs} == {
        (3, 3, 5, (0, 1))
    }
    assert small.settings["PROMPTATLAS_DTYPE"] == "bfloat16"


def test_datasets_are_those_of_the_runs(data: Path) -> None:
    one = tour(data)
    uploads = one.uploads(lambda text: len(text.split()))
    assert [dataset.name for dataset in uploads] == [job.dataset for job in one.jobs]
    assert [task.dataset for task in one.tasks] == [job.dataset for job in one.jobs]
    assert [one.jobs_of(task) for task in one.tasks] == [(job,) for job in one.jobs]


def test_the_instruction_is_in_the_chat(data: Path) -> None:
    for task in tour(data).tasks:
        framed = task.frame(lambda message: f"<user>{message}<bot>")
        assert framed.startswith("<user>")
        assert framed.endswith("\n\n{input}<bot>")
        assert task.reference == REFERENCE


def test_the_map_is_a_valid_spec(data: Path) -> None:
    mapped = tour(data).mapped
    layers = sorted(layer % 30 for layer in mapped.layers)
    assert layers == [0, 20, 29]
    MapSpec.model_validate(
        {"model": "m", "layers": layers, "sources": [{"embeddings": "vocabulary", "n": mapped.n_vocabulary}]}
    )


def test_missing_data_are_reported_before_the_model_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[Path] = []
    monkeypatch.setattr(smollm2, "fetch", fetched.append)
    write_squad(tmp_path)
    with pytest.raises(MissingData, match=r"arithmetic__mul\.txt"):
        choose("smollm2", size=Size(), data=tmp_path)
    assert fetched == []


def test_the_model_is_fetched(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[Path] = []
    monkeypatch.setattr(smollm2, "fetch", fetched.append)
    assert choose("smollm2", size=Size(), data=data).path == PATH
    assert fetched == [PATH]


def test_a_failed_download_is_an_error(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> None:
        raise NotFetched("no index")

    monkeypatch.setattr(smollm2, "fetch", fail)
    with pytest.raises(NotFetched, match="no index"):
        choose("smollm2", size=Size(), data=data)


def test_the_demo_model_needs_no_data(tmp_path: Path) -> None:
    found = choose("demo", size=Size(), data=tmp_path)
    assert found.path.name == "model"
    assert len(found.jobs) == 4
    assert found.uploads(len) == ()


def test_a_path_has_the_tour_on_real_data(data: Path) -> None:
    found = choose(str(data), size=Size(), data=data)
    assert (found.model, found.path) == (choice.HOSTED, data)
    with pytest.raises(ValueError, match=r"expected demo, smollm2 or the path of a model, got 'gpt'"):
        choose("gpt", size=Size(), data=data)
