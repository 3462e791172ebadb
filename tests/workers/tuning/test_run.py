"""The kind ``tune`` from its spec to what it leaves, on a small model with real stores."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from promptatlas.types.tuning import TuneSpec

from service.engine.requests import Limits
from service.errors import Conflict
from service.store.artifacts.tensor_codec import decode
from service.store.datasets.store import DatasetStore
from tests.workers.evaluation.fake_run import FakeRun
from tests.workers.tuning.small_run import SPEC, SPLITS, make_run, put_dataset, records, small_model
from workers.evaluation.evaluator import Evaluator
from workers.inputs.examples import encode, eval_examples
from workers.inputs.prompts import read_prompt
from workers.priors.sources.sources import Sources
from workers.tuning.draws import draw
from workers.tuning.run import tune
from workers.tuning.training.settings import Member, TuneSettings
from workers.tuning.training.trainer import Trainer

NAMES = ["wording-vocabulary-0", "wording-vocabulary-7", "wording-isotropic-0", "wording-isotropic-7"]
Floats = npt.NDArray[np.float32]


def stored(run: FakeRun, ref: str) -> dict[str, Floats]:
    return dict(run.prompts.load(run.prompts.resolve(ref)).tensors)


def lines(run: FakeRun) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run.outputs["evaluation.jsonl"].decode().splitlines()]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> FakeRun:
    run = make_run(tmp_path_factory.mktemp("done"))
    run.metrics = dict(tune(run))
    return run


def test_each_member_becomes_a_version_with_where_it_comes_from(done: FakeRun) -> None:
    assert done.made == [f"{name}@1" for name in NAMES]
    manifest = done.prompts.resolve("wording-isotropic-7")
    assert (manifest.kind, manifest.n_virtual, manifest.base) == ("soft", 3, "small")
    assert (manifest.run_id, manifest.seed, manifest.parent) == (done.run_id, 7, None)
    assert manifest.prior == {"kind": "isotropic", "std": 0.5}
    notes = manifest.notes
    dataset = done.datasets.get("words")
    assert notes["dataset"] == {
        "name": "words",
        "sha256": dataset.sha256,
        "template": dataset.template.model_dump(),
    }
    assert notes["base"]["revision"] == small_model().card.revision
    assert notes["versions"]["torch"] == torch.__version__
    assert (notes["lr"], notes["status"]) == (0.02, "finished")


def test_steps_and_tokens_of_all_members_are_tallied(done: FakeRun) -> None:
    spec = TuneSpec.model_validate_json(json.dumps(SPEC))
    assert done.tallied["tuning_steps"] == spec.optimizer.steps
    examples, _ = encode(small_model(), done.datasets.examples("words", split="train"), max_tokens=100)
    train = [example.length for example in examples]
    n_examples = spec.optimizer.steps * spec.optimizer.batch_size * len(NAMES)
    assert n_examples * min(train) <= done.tallied["tuning_tokens"] <= n_examples * max(train)


def test_the_vectors_are_those_of_a_trainer_that_starts_from_the_draws(done: FakeRun) -> None:
    model = small_model()
    spec = TuneSpec.model_validate_json(json.dumps(SPEC))
    sources = Sources(model, datasets=done.datasets, prompts=done.prompts)
    starts = [draw(spec.method, p, seed=s, model=model, sources=sources) for p in spec.priors for s in spec.seeds]
    data = {s: list(done.datasets.examples("words", split=s)) for s in ("train", "validation")}
    validation = list(done.datasets.examples("words", split="validation", n=6, seed=0))
    trainer = Trainer(
        model,
        members=[Member(name=n, lr=0.02, start=start) for n, start in zip(NAMES, starts, strict=True)],
        train=encode(model, data["train"], max_tokens=100)[0],
        validation=encode(model, validation, max_tokens=100)[0],
        settings=TuneSettings(kind="soft", steps=13, batch_size=5, eval_every=4, snapshots=4),
        max_bytes=1 << 30,
    )
    while not trainer.finished:
        trainer.step()
    for i, (name, start) in enumerate(zip(NAMES, starts, strict=True)):
        np.testing.assert_array_equal(stored(done, name)["soft"], trainer.result(i)["soft"].numpy())
        file = decode(done.outputs[f"draws/{name}@1.safetensors"])
        np.testing.assert_array_equal(file.tensors["soft"], start["soft"].numpy())
        assert file.metadata["kind"] == "soft"
        assert np.abs(file.tensors["soft"] - stored(done, name)["soft"]).max() > 0.01


def test_snapshots_lead_from_near_the_draw_to_the_last_vectors(tmp_path: Path) -> None:
    run = make_run(tmp_path, keep="last")
    tune(run)
    file = decode(run.outputs["snapshots/wording-vocabulary-0@1.safetensors"])
    assert file.tensors["steps"].tolist() == [3, 6, 10, 13]
    assert file.tensors["soft"].shape == (4, 3, small_model().d_model)
    np.testing.assert_array_equal(file.tensors["soft"][-1], stored(run, "wording-vocabulary-0")["soft"])


def test_metrics_are_those_of_asking_the_stored_prompt(done: FakeRun) -> None:
    model = small_model()
    manifest = done.prompts.resolve("wording-vocabulary-7")
    items, _ = eval_examples(model, done.datasets.examples("words", split="test", n=6, seed=0), max_tokens=100)
    prompts = {"it": read_prompt(done.prompts, manifest, model=model), "bare": None}
    rows = Evaluator(model, prompts=prompts, metrics=("loss", "exact_match"), limits=Limits()).rows(items)
    for label, prefix in (("it", ""), ("bare", "bare/")):
        own = [row for row in rows if row.label == label]
        nats = sum((row.loss or 0.0) * row.n_tokens for row in own)
        mean = nats / sum(row.n_tokens for row in own)
        assert manifest.metrics[f"{prefix}test/loss"] == pytest.approx(mean, rel=1e-5)
        assert manifest.metrics[f"{prefix}test/loss_low"] < mean < manifest.metrics[f"{prefix}test/loss_high"]
        right = sum(row.scores["exact_match"] for row in own) / len(own)
        assert manifest.metrics[f"{prefix}test/exact_match"] == pytest.approx(right)
    assert manifest.metrics["draw/test/loss"] > manifest.metrics["test/loss"]


def test_rows_tell_before_and_after_apart(done: FakeRun) -> None:
    rows = lines(done)
    assert len(rows) == 6 * (1 + 2 * len(NAMES))
    stages = {(row["stage"], row["prompt"], row["member"]) for row in rows}
    versions = {(stage, f"{name}@1", name) for name in NAMES for stage in ("before", "after")}
    assert stages == {("bare", None, None)} | versions
    assert {row["split"] for row in rows} == {"test"}
    assert all({"input", "answers", "output", "exact_match", "loss", "n_tokens"} <= set(row) for row in rows)


def test_curves_have_losses_of_every_member(done: FakeRun) -> None:
    for name in NAMES:
        points = {step: values for (step, member), values in done.points.items() if member == name}
        assert set(points) == set(range(14))
        assert {"loss", "lr", "grad_norm"} <= set(points[1])
        assert [step for step, values in points.items() if "validation_loss" in values] == [0, 4, 8, 12, 13]
        assert points[13]["validation_loss"] < points[0]["validation_loss"]
    assert {path for path in done.outputs if path.startswith("tensorboard/")} == {
        f"tensorboard/{name}/events.out.tfevents.0" for name in NAMES
    }


def test_the_runs_metrics_are_those_of_the_best_member(done: FakeRun) -> None:
    losses = {name: done.prompts.resolve(name).metrics["validation/loss"] for name in NAMES}
    best = min(losses, key=lambda name: losses[name])
    manifest = done.prompts.resolve(best)
    assert {name: done.metrics[name] for name in manifest.metrics} == manifest.metrics
    assert done.metrics["wording-isotropic-0/validation/loss"] == losses["wording-isotropic-0"]
    assert any(f"The best of 4: {best}@1" in text for _, text in done.logs)
    table = json.loads(done.outputs["members.json"])
    assert [(row["name"], row["prompt"], row["seed"]) for row in table] == [
        (name, f"{name}@1", seed) for name, seed in zip(NAMES, (0, 7, 0, 7), strict=True)
    ]


def test_the_log_describes_the_run_and_the_fitted_priors(tmp_path: Path) -> None:
    prior = {"kind": "gaussian", "fit": {"embeddings": {"dataset": "words", "n": 12}}}
    run = make_run(tmp_path, priors=[prior], seeds=[0])
    tune(run)
    texts = [text for _, text in run.logs]
    assert texts[0] == "Tuning one prompt on 30 examples of words, with 6 validation examples."
    assert re.match(r"Prior gaussian for soft: n_points \d+, .*shrinkage 0\.\d+, ", texts[1])
    facts = run.prompts.resolve("wording").notes["prior_facts"]["soft"]
    assert facts["shrinkage_method"] in texts[1]


def test_progress_ends_at_its_total(done: FakeRun) -> None:
    assert done.steps[-1] == (14, 14)
    assert [step for step, _ in done.steps] == sorted(step for step, _ in done.steps)


def test_the_notes_have_commands_that_tune_the_member_alone(done: FakeRun, tmp_path: Path) -> None:
    notes = done.prompts.resolve("wording-isotropic-7").notes
    words = shlex.split(notes["repeat"]["curl"])
    body = json.loads(words[words.index("-d") + 1])
    assert body["kind"] == "tune"
    TuneSpec.model_validate_json(json.dumps(body["spec"]))
    assert repr(body["spec"]) in notes["repeat"]["python"]
    again = make_run(tmp_path)
    again.spec = body["spec"]
    tune(again)
    assert again.made == ["wording-isotropic-7@1"]
    alone, together = (stored(run, "wording-isotropic-7")["soft"] for run in (again, done))
    np.testing.assert_allclose(alone, together, atol=1e-5)


def test_a_prompt_without_a_name_is_named_after_its_run(tmp_path: Path) -> None:
    run = make_run(tmp_path, name=None, priors=[{"kind": "xavier"}], seeds=[3])
    tune(run)
    assert run.made == [f"tuned-{run.run_id}@1"]


def test_members_that_differ_in_rate_share_a_draw_and_have_the_rate_in_their_names(tmp_path: Path) -> None:
    optimizer = {**SPEC["optimizer"], "lr": [0.02, 0.001]}
    run = make_run(tmp_path, priors=[{"kind": "xavier"}], seeds=[3], optimizer=optimizer)
    tune(run)
    assert run.made == ["wording-xavier-3-lr0.02@1", "wording-xavier-3-lr0.001@1"]
    first, second = (decode(run.outputs[f"draws/{ref}.safetensors"]).tensors["soft"] for ref in run.made)
    np.testing.assert_array_equal(first, second)
    assert len({row["loss"] for row in lines(run) if row["stage"] == "before"}) <= 6
    assert [run.prompts.resolve(ref).notes["lr"] for ref in run.made] == [0.02, 0.001]


@pytest.mark.parametrize(
    ("method", "tensors"),
    [
        ({"kind": "deep", "n_virtual": 2, "layers": [-1, 0], "where": "carried"}, {"deep.0", "deep.2"}),
        ({"kind": "deep", "n_virtual": 2, "layers": [2], "where": "local"}, {"deep.2"}),
        ({"kind": "prefix", "n_virtual": 2, "d_reparametrised": 5}, {"prefix"}),
        ({"kind": "steering", "layers": [-1, 0]}, {"steering.0", "steering.2"}),
    ],
)
def test_other_methods(method: dict[str, Any], tensors: set[str], tmp_path: Path) -> None:
    run = make_run(tmp_path, method=method, priors=[{"kind": "isotropic"}], seeds=[0], regularize={"weight": 0.1})
    tune(run)
    manifest = run.prompts.resolve("wording")
    assert (manifest.kind, manifest.where) == (method["kind"], method.get("where"))
    assert set(stored(run, "wording")) == tensors
    assert manifest.metrics["test/loss"] < manifest.metrics["draw/test/loss"]


def test_the_penalty_moves_vectors_to_higher_prior_density(tmp_path: Path) -> None:
    changes = {"priors": [{"kind": "isotropic", "std": 0.1}], "seeds": [0]}
    norms = []
    for weight in (0.0, 10.0):
        run = make_run(tmp_path / str(weight), **changes, regularize={"weight": weight}, keep="last")
        tune(run)
        norms.append(np.linalg.norm(stored(run, "wording")["soft"]))
    assert norms[1] < 0.9 * norms[0]


def test_tuning_starts_from_a_stored_prompt(done: FakeRun) -> None:
    prior = {"kind": "prompt", "ref": "wording-vocabulary-0@1"}
    changed = {**SPEC, "priors": [prior], "seeds": [0], "name": "further"}
    run = FakeRun(changed, done.models, done.artifacts, done.datasets, run_id="run-2")
    tune(run)
    manifest = run.prompts.resolve("further")
    assert manifest.parent == "wording-vocabulary-0@1"
    start = decode(run.outputs["draws/further@1.safetensors"]).tensors["soft"]
    np.testing.assert_array_equal(start, stored(done, "wording-vocabulary-0")["soft"])
    assert manifest.metrics["draw/test/loss"] == pytest.approx(
        done.prompts.resolve("wording-vocabulary-0").metrics["test/loss"], rel=1e-5
    )


def test_equal_vectors_do_not_create_a_new_version(done: FakeRun) -> None:
    run = FakeRun(done.spec, done.models, done.artifacts, done.datasets, run_id="run-3", settings=done.settings)
    tune(run)
    assert run.made == done.made
    assert any("bit by bit" in text for _, text in run.logs)


def test_plain_text_is_evaluated_by_its_loss(tmp_path: Path) -> None:
    run = make_run(tmp_path, dataset="stories", priors=[{"kind": "vocabulary"}], seeds=[0])
    stories = [{"text": f"{r['input']}{r['target']}", "split": r["split"]} for r in records()]
    put_dataset(run.datasets, "stories", stories)
    tune(run)
    metrics = run.prompts.resolve("wording").metrics
    assert metrics["test/loss"] < metrics["draw/test/loss"]
    assert not any("exact_match" in name for name in metrics)


def test_without_validation_the_last_vectors_are_kept(tmp_path: Path) -> None:
    run = make_run(tmp_path, dataset="few", priors=[{"kind": "vocabulary"}], seeds=[0])
    put_dataset(run.datasets, "few", [r for r in records() if r["split"] != "validation"])
    metrics = tune(run)
    manifest = run.prompts.resolve("wording")
    assert manifest.notes["step"] == 13
    assert "validation/loss" not in metrics
    assert any(re.search(r"The best of 1: wording@1, test/exact_match", text) for _, text in run.logs)


def test_a_template_of_the_spec_renders_the_examples(tmp_path: Path) -> None:
    template = {"input": "t5 {input}", "target": "{target} t8"}
    run = make_run(tmp_path, template=template, priors=[{"kind": "vocabulary"}], seeds=[0])
    tune(run)
    assert all(row["input"].startswith("t5 ") for row in lines(run))
    assert run.prompts.resolve("wording").notes["dataset"]["template"] == template


def test_a_resumed_run_refuses_a_changed_dataset(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    run.stop_at = 5
    with pytest.raises(Exception, match="cancelled"):
        tune(run)
    store: DatasetStore = run.datasets
    store.delete("words")
    put_dataset(store, "words", records()[1:])
    with pytest.raises(Conflict, match="other content"):
        tune(run.again())


def test_splits_of_the_dataset_have_the_expected_sizes(done: FakeRun) -> None:
    assert dict(done.datasets.get("words").splits) == SPLITS
