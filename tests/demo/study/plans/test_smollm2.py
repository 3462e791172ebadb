"""The plan of SmolLM2: valid specs, the data of every finding, the paper's form and rates, and the order of the runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from promptatlas.types import MapSpec, ReportSpec, TuneSpec

from demo.study.budget import all_tunings
from demo.study.plan import Size, Tuning
from demo.study.plans.smollm2 import (
    BRIEF,
    CHAINS,
    DATASETS,
    FULL,
    RATE,
    SLOW,
    SMOLLM2,
    TINY,
    few,
    map_layers,
    soft_priors,
)
from service.planning.checks.members import check_members, members_of
from tests.demo.study.cards import card
from workers.reports.evidence.evidence import prior_label

RATES = {"soft": 5e-2, "deep": 1.0}


def tunings(size: Size = FULL) -> Sequence[Tuning]:
    return all_tunings(SMOLLM2, size=size, card=card(), rates=RATES)


@pytest.mark.parametrize("size", [FULL, BRIEF, TINY])
def test_specs_are_valid(size: Size) -> None:
    found = tunings(size)
    assert len({one.name for one in found}) == len(found)
    for one in found:
        spec = TuneSpec.model_validate(one.spec)
        check_members(spec)
        assert (spec.name, len(members_of(spec))) == (one.name, one.n_members)
    report = ReportSpec.model_validate(SMOLLM2.report_spec(prompts=["a@1"], size=size, card=card()))
    assert report.layers == [0, 3, 6, 9, 12, 15, 18, 21, 24, 27, 29]
    for job in SMOLLM2.maps(size, card(), {"soft-squad": ["a@1"]}):
        MapSpec.model_validate(job.spec)


def test_the_brief_form_has_every_kind_of_prior_and_both_tasks_in_less_training() -> None:
    found = [one for one in tunings(BRIEF) if one.in_report]
    kinds = {prior["kind"] for one in found for prior in one.spec["priors"]}
    assert kinds == {"isotropic", "xavier", "vocabulary", "gaussian", "exclusion", "interpolation", "vae"}
    assert {one.spec["dataset"] for one in found} == {"squad", "arithmetic"}

    def n_examples(size: Size) -> int:
        specs = [(one.n_members, one.spec["optimizer"]) for one in tunings(size)]
        return sum(n * optimizer["steps"] * optimizer["batch_size"] for n, optimizer in specs)

    assert n_examples(BRIEF) < n_examples(replace(FULL, steps=BRIEF.steps)) / 2


def test_priors_have_distinct_labels_within_a_run() -> None:
    for one in tunings():
        labels = [prior_label(prior) for prior in one.spec["priors"]]
        assert len(set(labels)) == len(labels)


def test_the_study_has_the_data_of_every_finding() -> None:
    specs = [TuneSpec.model_validate(one.spec) for one in tunings() if one.in_report]
    kinds = {prior.kind for spec in specs for prior in spec.priors}
    assert kinds == {"isotropic", "xavier", "vocabulary", "gaussian", "exclusion", "interpolation", "vae"}
    for dataset in ("squad", "arithmetic"):
        own = [member.lr for spec in specs if spec.dataset == dataset for member in members_of(spec)]
        assert {SLOW, RATE, RATES["soft"], RATES["deep"]} <= set(own)
        assert {spec.method.kind for spec in specs if spec.dataset == dataset} == {"soft", "deep"}
    assert all(spec.seeds == [0, 1, 2] for spec in specs if spec.name != "soft-arithmetic-longer")
    assert {spec.method.n_positions for spec in specs} == {20}


def test_the_papers_form_has_vectors_at_the_embeddings_and_the_last_three_layers() -> None:
    layers = {tuple(one.spec["method"].get("layers", ())) for one in tunings()}
    assert layers == {(), (27, 28, 29), (0, 27, 28, 29)}
    assert all(one.spec["method"].get("where", "local") == "local" for one in tunings())


def test_the_longer_run_has_the_same_bound_on_the_distance() -> None:
    runs = {one.name: one.spec for one in tunings()}
    longer, main = (runs[name]["optimizer"] for name in ("soft-arithmetic-longer", "soft-arithmetic"))
    assert longer["lr"] * longer["steps"] == pytest.approx(main["lr"] * main["steps"])


@pytest.mark.parametrize("rate", [SLOW, RATE])
def test_a_fixed_rate_that_is_best_is_tuned_once(rate: float) -> None:
    found = SMOLLM2.tunings(FULL, {"soft": rate, "deep": rate}, card())
    seen = [
        (one.spec["dataset"], str(one.spec["method"]), prior_label(prior), lr, one.spec["optimizer"]["steps"])
        for one in found
        for prior in one.spec["priors"]
        for lr in np.atleast_1d(one.spec["optimizer"]["lr"]).tolist()
    ]
    assert len(set(seen)) == len(seen)


def test_the_first_runs_have_both_methods_and_a_task_in_words_and_in_numbers() -> None:
    first = list(SMOLLM2.tunings(FULL, RATES, card()))[:4]
    assert {(one.spec["dataset"], one.spec["method"]["kind"]) for one in first} == {
        ("arithmetic", "soft"),
        ("arithmetic", "deep"),
        ("squad", "soft"),
        ("squad", "deep"),
    }


def test_few_tells_the_wide_prior_from_the_other_gaussians() -> None:
    assert [prior.get("scale") for prior in few(soft_priors(FULL), "wide")] == [16.0]
    assert [prior.get("scale") for prior in few(soft_priors(FULL), "gaussian")] == [1.0, 1.0]


def test_maps_show_four_layers_the_vocabulary_the_tasks_and_prompts_that_exist() -> None:
    assert map_layers(card()) == [0, 10, 20, 29]
    assert map_layers(card(n_layers=1)) == [0]
    (first, second) = SMOLLM2.maps(FULL, card(), {"soft-squad": ["a@1", "b@1"], "deep-arithmetic-best": []})
    assert {first.spec["method"], second.spec["method"]} == {"pca", "tsne"}
    sources = first.spec["sources"]
    assert sources[0] == {"embeddings": "vocabulary"}
    assert {source["dataset"] for source in sources if "dataset" in source} == set(DATASETS) - {"wikitext-2-cloze"}
    assert [source["prompts"] for source in sources if "prompts" in source] == [["a@1", "b@1"]]
    assert [source["trajectories"]["dataset"] for source in sources if "trajectories" in source] == [CHAINS]
