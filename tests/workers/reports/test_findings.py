"""Every finding on evidence that was made to confirm it, and on evidence made to speak against it."""

from __future__ import annotations

import numpy as np
import pytest

from tests.workers.reports.evidence_made_up import evidence, tuned, vocabulary
from workers.reports.cloud_shape import finding_shape, measure_shapes
from workers.reports.collapse import finding_collapse, finding_stay, measure_collapse, measure_draws
from workers.reports.evidence import Evidence, prior_label
from workers.reports.localization import finding_walks, measure_walks
from workers.reports.numbers import Budget, differs_by_label, rank_correlation
from workers.reports.quality import finding_interpolation, finding_quality, steps_to_common_loss
from workers.reports.tasks import finding_tasks, measure_separation

BUDGET = Budget(samples=199, seed=0)


def no_check() -> None:
    return None


def four_prompts(**changes: float) -> Evidence:
    near = [tuned("near", seed, moved=0.01, score=0.9, steps=10) for seed in range(3)]
    far = [tuned("far", seed, **{"moved": 0.01, "score": 0.9, "steps": 40, **changes}) for seed in range(3)]  # type: ignore[arg-type]
    return evidence(*near, *far)


def test_vectors_that_hardly_moved_stay_near_their_draw() -> None:
    found = four_prompts()
    answer = finding_stay(found, measure_collapse(found), budget=BUDGET)
    assert answer.verdict == "confirmed"
    assert answer.numbers["own_draw_is_nearest"]["value"] == 1
    assert (
        answer.numbers["by_prior"]["mahalanobis"]["far"]["value"]
        > answer.numbers["by_prior"]["mahalanobis"]["near"]["value"]
    )


def test_vectors_that_moved_far_do_not() -> None:
    prompts = [tuned(prior, seed, moved=50.0, score=1, steps=1) for prior in ("near", "far") for seed in range(3)]
    found = evidence(*prompts)
    assert finding_stay(found, measure_collapse(found), budget=BUDGET).verdict in ("contradicted", "mixed")
    assert finding_stay(found, measure_collapse(found), budget=BUDGET).numbers["own_draw_is_nearest"]["value"] < 0.5


def test_members_that_share_a_draw_are_each_at_home() -> None:
    one = tuned("near", 0, moved=0.0, score=1, steps=1)
    other = tuned("near", 0, moved=0.0, score=1, steps=1, ref="near-0-lr2@1", lr=0.02)
    found = evidence(one, other)
    assert finding_stay(found, measure_collapse(found), budget=BUDGET).numbers["own_draw_is_nearest"]["value"] == 1


def test_equal_quality_and_slow_far_starts_confirm_the_second_finding() -> None:
    found = four_prompts()
    answer = finding_quality(found, measure_collapse(found), budget=BUDGET)
    assert answer.verdict == "confirmed"
    table = answer.numbers["groups"]["soft for qa"]
    assert table["steps_to_common_loss"]["far"]["value"] == 100
    assert table["spread_of_means"] == 0
    assert (
        answer.numbers["distance_of_draw_and_steps"] is None or answer.numbers["distance_of_draw_and_steps"]["rho"] > 0
    )


def test_a_prior_that_ends_worse_speaks_against_it() -> None:
    found = four_prompts(score=0.2)
    answer = finding_quality(found, measure_collapse(found), budget=BUDGET)
    assert answer.verdict in ("mixed", "contradicted")
    assert answer.numbers["groups"]["soft for qa"]["spread_of_means"] == pytest.approx(0.7)


def test_steps_to_the_common_loss_by_hand() -> None:
    one = tuned("near", 0, moved=0, score=1, steps=1, curve=[(0, 4.0), (10, 2.0), (20, 0.1)])
    two = tuned("near", 1, moved=0, score=1, steps=1, curve=[(0, 4.0), (10, 3.0), (20, 1.5), (30, 1.6)])
    assert steps_to_common_loss([one, two]) == (1.5, {"near-0@1": 20, "near-1@1": 20})
    assert steps_to_common_loss([one]) is None


def test_prompts_on_tokens_have_collapsed_and_others_have_not() -> None:
    apart = four_prompts()
    answer = finding_collapse(apart, measure_collapse(apart), budget=BUDGET)
    assert answer.verdict == "confirmed"
    onto = evidence(*[tuned("near", seed, moved=0, score=1, steps=1, onto_tokens=True) for seed in range(2)])
    collapse = measure_collapse(onto)
    assert finding_collapse(onto, collapse, budget=BUDGET).verdict == "contradicted"
    assert collapse["near-0@1"]["share_within_radius"] == 1
    assert [row[0] for row in collapse["near-0@1"]["nearest_tokens"]] == ["t0", "t1", "t2", "t3"]


def test_walks_that_jump_confirm_the_fourth_and_walks_that_stay_contradict_it() -> None:
    for local, verdict in ((False, "confirmed"), (True, "contradicted")):
        rows = measure_walks(evidence(local=local), budget=BUDGET, check=no_check)
        assert {(row["layer"], row["null"]) for row in rows} == {(0, "vocabulary"), (0, "dataset"), (1, "dataset")}
        assert finding_walks(rows).verdict == verdict


def test_distant_and_near_tasks_confirm_the_fifth() -> None:
    rows = measure_separation(evidence(apart=20.0), budget=BUDGET, check=no_check)
    answer = finding_tasks(rows)
    assert answer.verdict == "confirmed"
    assert answer.numbers["apart_at_every_layer"] == ["language | sums", "more language | sums"]
    assert answer.numbers["apart_at_no_layer"] == ["language | more language"]
    energy = [row for row in rows if row["measure"] == "energy_distance" and "sums" in row["pair"]]
    assert all(row["p_value"] == pytest.approx(1 / 200) for row in energy)


def test_tasks_that_all_lie_together_contradict_it() -> None:
    assert (
        finding_tasks(measure_separation(evidence(apart=0.0), budget=BUDGET, check=no_check)).verdict == "contradicted"
    )


def test_interpolation_is_held_against_the_others() -> None:
    others = [tuned("near", seed, moved=0, score=0.9, steps=1) for seed in range(2)]
    for score, verdict in ((0.88, "confirmed"), (0.3, "contradicted")):
        ours = tuned("interpolation", 0, moved=0, score=score, steps=1)
        assert finding_interpolation(evidence(*others, ours), budget=BUDGET).verdict == verdict


def test_gaussian_clouds_are_unimodal_but_neither_peaked_nor_misfitted() -> None:
    rows = measure_shapes(evidence(), budget=BUDGET, check=no_check)
    answer = finding_shape(rows)
    assert answer.numbers["share_unimodal"] > 0.8
    assert answer.numbers["share_no_gaussian"] < 0.3
    assert answer.verdict == "mixed"
    assert len(rows) == 6


def test_without_evidence_nothing_is_claimed() -> None:
    nothing = Evidence(layers=[0], prompts=[], clouds={}, vocabulary=vocabulary(), tokens=[], walks=[])
    answers = [
        finding_stay(nothing, {}, budget=BUDGET), finding_quality(nothing, {}, budget=BUDGET),
        finding_collapse(nothing, {}, budget=BUDGET), finding_walks([]), finding_tasks([]),
        finding_interpolation(nothing, budget=BUDGET), finding_shape([]),
    ]  # fmt: skip
    assert {answer.verdict for answer in answers} == {"not measured"}
    assert all(answer.missing for answer in answers)
    assert sorted(answer.number for answer in answers) == [1, 2, 3, 4, 5, 6, 7]


def test_draws_that_nothing_was_tuned_from_are_measured_too() -> None:
    found = Evidence(
        layers=[0], prompts=[], clouds={}, vocabulary=vocabulary(), tokens=[f"t{i}" for i in range(80)], walks=[],
        draws={"isotropic": np.zeros((3, 6), np.float32) + 0.1},
    )  # fmt: skip
    assert measure_draws(found)["isotropic"]["effective_rank"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("prior", "label"),
    [
        ({"kind": "gaussian", "fit": {"embeddings": "vocabulary"}, "scale": 1.0}, "gaussian(vocabulary)"),
        ({"kind": "gaussian", "fit": {"embeddings": {"dataset": "x"}}, "scale": 4.0}, "gaussian(token embeddings)×4"),
        ({"kind": "exclusion", "fit": {"activations": {"dataset": "x"}}}, "exclusion(activations)"),
        ({"kind": "isotropic", "std": 0.02}, "isotropic"),
        ({"kind": "isotropic", "std": 1.0}, "isotropic(1)"),
        (None, "unknown"),
    ],
)
def test_a_prior_in_a_few_words(prior: dict[str, object] | None, label: str) -> None:
    assert prior_label(prior) == label


def test_small_statistics_know_when_they_cannot_speak() -> None:
    assert differs_by_label(["a", "a", "b", "b"], [1.0, 2.0, 8.0, 9.0]) is not None
    assert differs_by_label(["a", "a"], [1.0, 2.0]) is None
    assert differs_by_label(["a", "b"], [1.0, 2.0]) is None
    assert rank_correlation([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 9.0]) == {"rho": 1.0, "p_value": 0.0, "n": 4}
    assert rank_correlation([1.0, 1.0, 1.0, 1.0], [1.0, 2.0, 3.0, 9.0]) is None
