"""Every finding on evidence that was made to confirm it, and on evidence made to speak against it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.workers.reports.evidence_made_up import evidence, tuned, vocabulary
from workers.reports.evidence.collapse_measures import measure_collapse, measure_draws
from workers.reports.evidence.evidence import Evidence, TunedPrompt, prior_label
from workers.reports.evidence.measurement_cache import Rows
from workers.reports.findings.cloud_shape import finding_shape, measure_shapes
from workers.reports.findings.collapse import finding_collapse
from workers.reports.findings.displacement import finding_displacement
from workers.reports.findings.localization import finding_localization, measure_trajectories
from workers.reports.findings.quality import finding_interpolation, finding_quality, steps_to_common_loss
from workers.reports.findings.result import verdict_of
from workers.reports.findings.statistics import Resampling
from workers.reports.findings.task_clusters import finding_tasks, measure_separation, total_variation

BUDGET = Resampling(samples=199, seed=0)


def cached(_key: str, make: Callable[[], Rows]) -> Rows:
    return make()


def measured(found: Evidence) -> dict[str, dict[str, Any]]:
    return measure_collapse(found, check=lambda: None)


def prompts(prior: str, *, n: int = 4, **fields: Any) -> list[TunedPrompt]:
    return [tuned(prior, seed, **{"moved": 0.01, "score": 0.9, "steps": 10, **fields}) for seed in range(n)]


def near_and_far(**far: Any) -> Evidence:
    return evidence(*prompts("near"), *prompts("far", **{"steps": 40, **far}))


def test_vectors_that_hardly_moved_stay_near_their_draw() -> None:
    found = near_and_far()
    answer = finding_displacement(found, measured(found), resampling=BUDGET)
    assert answer.verdict == "confirmed"
    assert set(answer.numbers["parts"].values()) == {True}
    assert answer.numbers["by_method_and_rate"]["own_draw_is_nearest"]["soft at 0.01"]["value"] == 1
    tables = answer.numbers["by_prior"]["soft at 0.01"]
    assert tables["mahalanobis"]["far"]["value"] > tables["mahalanobis"]["near"]["value"]


def test_vectors_that_moved_far_do_not() -> None:
    found = evidence(*prompts("near", moved=50.0), *prompts("far", moved=50.0))
    answer = finding_displacement(found, measured(found), resampling=BUDGET)
    assert answer.verdict in ("contradicted", "mixed")
    assert answer.numbers["parts"]["own draw is nearest: soft at 0.01"] is False


def test_members_that_share_a_draw_are_each_at_home() -> None:
    slow = [tuned("near", seed, moved=0.0, score=1, steps=1) for seed in range(2)]
    found = evidence(*slow, *(replace(one, ref=f"near-{one.seed}-lr2@1", lr=0.02) for one in slow))
    parts = finding_displacement(found, measured(found), resampling=BUDGET).numbers["parts"]
    assert parts["own draw is nearest: soft at 0.01"] is parts["own draw is nearest: soft at 0.02"] is True


def test_one_prompt_leaves_the_parts_of_every_finding_open() -> None:
    """One prompt of each prior: a bootstrap of one value has no width, but says nothing about a second prompt."""
    found = evidence(*prompts("far", n=1), *prompts("interpolation(a, b)", n=1))
    collapse = measured(found)
    displaced = finding_displacement(
        evidence(*found.prompts[:1], replace(found.prompts[1], lr=1.0)), collapse, resampling=BUDGET
    )
    stays = displaced.numbers["by_method_and_rate"]["own_draw_is_nearest"]["soft at 0.01"]
    assert (stays["value"], stays["low"], stays["high"], stays["n"]) == (1, 1, 1, 1)
    answers = [
        displaced,
        finding_quality(found, collapse, resampling=BUDGET),
        finding_collapse(found, collapse, resampling=BUDGET),
        finding_interpolation(found, resampling=BUDGET),
    ]
    for answer in answers:
        open_parts = {name for name, holds in answer.numbers["parts"].items() if holds is None}
        assert open_parts, answer.title
        assert not {name for name, holds in answer.numbers["parts"].items() if holds}, answer.title
        assert answer.verdict != "confirmed", answer.title
    second = evidence(*prompts("far", n=2), *prompts("interpolation(a, b)", n=2))
    assert finding_interpolation(second, resampling=BUDGET).verdict == "confirmed"
    assert finding_collapse(second, measured(second), resampling=BUDGET).numbers["parts"][
        "some prior does not collapse"
    ]


def test_a_draw_that_is_a_token_does_not_count_as_the_cloud() -> None:
    tokens = vocabulary()[:4]
    stayed = tuned("near", 0, moved=0, score=1, steps=1, draw={0: tokens}, vectors={0: tokens + np.float32(0.01)})
    # From its own token to another.
    fell = replace(stayed, ref="fell@1", vectors={0: vocabulary()[4:8] + np.float32(0.01)})
    found = evidence(stayed, fell)
    answer = finding_displacement(found, measured(found), resampling=BUDGET)
    stays = answer.numbers["by_method_and_rate"]["nearer_to_draw_than_to_cloud"]["soft at 0.01"]
    assert (stays["value"], stays["low"], stays["high"]) == (0.5, 0, 1)
    assert answer.numbers["parts"]["nearer to draw than to cloud: soft at 0.01"] is None


def test_a_rate_that_drives_vectors_away_is_told_apart() -> None:
    fast = [replace(prompt, lr=1.0, ref=f"fast-{prompt.ref}") for prompt in prompts("far", moved=50.0)]
    found = evidence(*prompts("near"), *prompts("far"), *fast)
    parts = finding_displacement(found, measured(found), resampling=BUDGET).numbers["parts"]
    assert parts["own draw is nearest: soft at 0.01"] is True
    assert parts["own draw is nearest: soft at 1"] is False


def test_equal_quality_and_slow_far_starts_confirm_the_second_finding() -> None:
    found = near_and_far()
    answer = finding_quality(found, measured(found), resampling=BUDGET)
    assert answer.verdict == "confirmed"
    table = answer.numbers["groups"]["soft for qa at 0.01"]
    assert table["steps_to_common_loss"]["far"] == {"value": 40, "low": 40, "high": 40, "n": 4, "n_never": 0}
    assert table["spread_of_means"] == 0
    assert answer.numbers["distance_of_draw_and_steps"]["rho"] > 0.5


def test_a_prior_that_ends_worse_speaks_against_it() -> None:
    found = near_and_far(score=0.2)
    answer = finding_quality(found, measured(found), resampling=BUDGET)
    assert answer.verdict == "mixed"
    assert answer.numbers["parts"]["alike: soft for qa at 0.01"] is False
    assert answer.numbers["groups"]["soft for qa at 0.01"]["spread_of_means"] == pytest.approx(0.7)


def test_two_seeds_are_too_few_to_speak_against_it() -> None:
    found = evidence(*prompts("near", n=2), *prompts("far", n=2, score=0.2, steps=40))
    answer = finding_quality(found, measured(found), resampling=BUDGET)
    assert answer.numbers["parts"]["alike: soft for qa at 0.01"] is None


def test_far_starts_that_are_as_fast_speak_against_it() -> None:
    found = near_and_far(steps=10)
    answer = finding_quality(found, measured(found), resampling=BUDGET)
    assert answer.verdict == "confirmed"  # nothing differs in speed, so nothing can be said of it
    varied = evidence(*[tuned(p, s, moved=0, score=0.9, steps=5 + s) for p in ("near", "far") for s in range(4)])
    assert finding_quality(varied, measured(varied), resampling=BUDGET).verdict == "mixed"


def test_where_nothing_was_learnt_nothing_is_compared() -> None:
    found = evidence(*prompts("near", score=0.05), *prompts("interpolation", score=0.05))
    assert finding_quality(found, measured(found), resampling=BUDGET).verdict == "not measured"
    assert finding_interpolation(found, resampling=BUDGET).verdict == "not measured"
    bare = {"test/exact_match": 0.9, "bare/test/exact_match": 0.85}
    found = evidence(*prompts("near", metrics=bare), *prompts("interpolation", metrics=bare))
    assert finding_interpolation(found, resampling=BUDGET).verdict == "not measured"


def test_rates_are_not_mixed_up_with_priors() -> None:
    found = evidence(*prompts("near"), *prompts("far", lr=1.0, score=0.1))
    assert finding_quality(found, measured(found), resampling=BUDGET).verdict == "not measured"


def test_steps_to_the_common_loss_by_hand() -> None:
    one = tuned("near", 0, moved=0, score=1, steps=1, curve=[(0, 4.0), (10, 2.0), (20, 0.25)])
    two = tuned("near", 1, moved=0, score=1, steps=1, curve=[(0, 4.0), (10, 0.9), (20, 0.25), (30, 0.3)])
    never = tuned("near", 2, moved=0, score=1, steps=1, curve=[(0, 4.0), (10, 3.0)])
    found = steps_to_common_loss([one, two, never])
    assert found is not None
    assert found.loss == pytest.approx(1.0)
    assert found.steps == {"near-0@1": 20, "near-1@1": 10, "near-2@1": np.inf}
    assert steps_to_common_loss([one]) is None
    flat = replace(one, curve=[(0, 3.0), (1, 3.0)])
    assert steps_to_common_loss([flat, replace(flat, ref="b@1")]) is None


def test_prompts_on_tokens_have_collapsed_and_others_have_not() -> None:
    some = evidence(*prompts("near", onto_tokens=True), *prompts("far"))
    answer = finding_collapse(some, measured(some), resampling=BUDGET)
    assert answer.numbers["priors_without_collapse"] == ["far"]
    assert answer.numbers["n_collapsed"] == 4
    assert answer.numbers["parts"] == {"some prior does not collapse": True, "depends on the prior": True}
    assert answer.verdict == "confirmed"
    onto = evidence(*prompts("near", n=2, onto_tokens=True))
    collapse = measured(onto)
    assert finding_collapse(onto, collapse, resampling=BUDGET).verdict == "contradicted"
    assert collapse["near-0@1"]["share_within_radius"] == 1
    assert [row[0] for row in collapse["near-0@1"]["nearest_tokens"]] == ["t0", "t1", "t2", "t3"]


def test_collapse_that_comes_with_the_rate() -> None:
    slow, fast = prompts("far", lr=0.001), prompts("far", lr=0.1, onto_tokens=True)
    found = evidence(*slow, *(replace(prompt, ref=f"fast-{prompt.ref}") for prompt in fast))
    answer = finding_collapse(found, measured(found), resampling=BUDGET)
    assert answer.numbers["parts"] == {"some prior does not collapse": False, "depends on the rate": True}
    table = answer.numbers["by_rate"]["far, soft for qa"]["share_within_radius"]
    assert table["0.1"]["value"] == 1
    assert table["0.001"]["value"] < 0.5


def test_walks_that_jump_confirm_the_fourth_and_walks_that_stay_contradict_it() -> None:
    for local, verdict in ((False, "confirmed"), (True, "contradicted")):
        rows = measure_trajectories(evidence(local=local), resampling=BUDGET, cached=cached)
        assert {(row["layer"], row["null"]) for row in rows} == {(0, "vocabulary"), (0, "dataset"), (1, "dataset")}
        assert finding_localization(rows).verdict == verdict


def test_distant_and_near_tasks_confirm_the_fifth() -> None:
    found = evidence(apart=20.0)
    rows = measure_separation(found, resampling=BUDGET, cached=cached)
    answer = finding_tasks(found, rows)
    assert answer.verdict == "confirmed"
    pairs = answer.numbers["pairs"]
    assert {name: (row["total_variation"], row["apart_at"], row["n_layers"]) for name, row in pairs.items()} == {
        "language | more language": (pytest.approx(0.2), [], 2),
        "language | sums": (1, [0, 1], 2),
        "more language | sums": (pytest.approx(0.9), [0, 1], 2),
    }
    assert pairs["language | sums"]["silhouette_tokens"] > 0.5 > pairs["language | more language"]["silhouette_tokens"]
    assert pairs["language | sums"]["probe_accuracy_tokens"] == 1
    energy = [row for row in rows if row["measure"] == "energy_distance" and "sums" in row["pair"]]
    assert all(row["p_value"] == pytest.approx(1 / 200) for row in energy)


def test_distant_tasks_that_lie_together_contradict_it() -> None:
    found = evidence(apart=0.0)
    answer = finding_tasks(found, measure_separation(found, resampling=BUDGET, cached=cached))
    assert answer.verdict == "mixed"
    assert answer.numbers["parts"]["distant, apart everywhere: language | sums"] is False
    only = {name: found.clouds[name] for name in ("language", "sums")}
    alone = replace(found, clouds=only)
    assert finding_tasks(alone, measure_separation(alone, resampling=BUDGET, cached=cached)).verdict == "contradicted"


def test_near_tasks_that_lie_apart_speak_against_it() -> None:
    found = evidence(apart=20.0)
    text_statistics = dict.fromkeys(found.text_statistics, found.text_statistics["language"])
    found = replace(found, text_statistics=text_statistics)
    answer = finding_tasks(found, measure_separation(found, resampling=BUDGET, cached=cached))
    assert answer.verdict == "mixed"
    assert answer.numbers["parts"]["near, together: language | sums"] is False


def test_total_variation_by_hand() -> None:
    assert total_variation(np.array([1, 1, 0]), np.array([0, 3, 3])) == pytest.approx(0.5)
    assert total_variation(np.array([2, 2]), np.array([1, 1])) == 0


def test_interpolation_is_held_against_the_others() -> None:
    for score, verdict in ((0.88, "confirmed"), (0.3, "contradicted")):
        found = evidence(*prompts("near"), *prompts("far"), *prompts("interpolation(a, b)", score=score))
        assert finding_interpolation(found, resampling=BUDGET).verdict == verdict
    one = evidence(*prompts("near", n=1), *prompts("interpolation(a, b)", n=1, score=0.3))
    assert finding_interpolation(one, resampling=BUDGET).verdict == "mixed"


def test_others_that_failed_do_not_make_interpolation_good() -> None:
    bad = [prompt for prior in ("x", "y") for prompt in prompts(prior, score=0.0)]
    good = [prompt for prior in ("near", "far", "z") for prompt in prompts(prior)]
    found = evidence(*good, *bad, *prompts("interpolation", score=0.6))
    assert finding_interpolation(found, resampling=BUDGET).numbers["groups"]["soft for qa at 0.01"][
        "median_of_other_priors"
    ] == pytest.approx(0.9)
    assert finding_interpolation(found, resampling=BUDGET).verdict != "confirmed"


def test_gaussian_clouds_are_unimodal_but_neither_peaked_nor_misfitted() -> None:
    found = evidence()
    rows = measure_shapes(found, resampling=BUDGET, cached=cached)
    answer = finding_shape(found, rows)
    assert answer.numbers["parts"] == {
        "unimodal in most directions": True,
        "unimodal along the first axis": False,  # 120 points are too few for so small a dip
        "peaked": False,
        "no Gaussian": False,
    }
    assert answer.verdict == "mixed"
    assert len(rows) == 6
    assert answer.numbers["n_clouds"] == 4  # those of sums are not natural language
    assert answer.numbers["by_dataset"]["sums"]["kurtosis"] < 1


def test_without_evidence_nothing_is_claimed() -> None:
    nothing = Evidence(layers=[0], prompts=[], clouds={}, vocabulary=vocabulary(), tokens=[], trajectories=[])
    answers = [
        finding_displacement(nothing, {}, resampling=BUDGET),
        finding_quality(nothing, {}, resampling=BUDGET),
        finding_collapse(nothing, {}, resampling=BUDGET),
        finding_localization([]),
        finding_tasks(nothing, []),
        finding_interpolation(nothing, resampling=BUDGET),
        finding_shape(nothing, []),
    ]
    assert {answer.verdict for answer in answers} == {"not measured"}
    assert all(answer.missing for answer in answers)
    assert sorted(answer.number for answer in answers) == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize(
    ("parts", "verdict"),
    [
        ([True, True], "confirmed"),
        ([True, None], "mixed"),
        ([True, False], "mixed"),
        ([None, False], "contradicted"),
        ([None], "mixed"),
        ([], "not measured"),
    ],
)
def test_verdicts_follow_from_parts(parts: list[bool | None], verdict: str) -> None:
    assert verdict_of({str(i): part for i, part in enumerate(parts)}) == verdict


def test_draws_that_nothing_was_tuned_from_are_measured_too() -> None:
    found = Evidence(
        layers=[0],
        prompts=[],
        clouds={},
        vocabulary=vocabulary(),
        tokens=[f"t{i}" for i in range(80)],
        trajectories=[],
        draws={"isotropic": np.zeros((3, 6), np.float32) + 0.1},
    )
    assert measure_draws(found)["isotropic"]["effective_rank"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("prior", "label"),
    [
        ({"kind": "gaussian", "fit": {"embeddings": "vocabulary"}, "scale": 1.0}, "gaussian(vocabulary)"),
        ({"kind": "gaussian", "fit": {"embeddings": {"dataset": "x"}}, "scale": 4.0}, "gaussian(x embeddings)×4"),
        ({"kind": "exclusion", "fit": {"activations": {"dataset": "x"}}}, "exclusion(x activations)"),
        ({"kind": "posterior", "fit": "mixture"}, "posterior"),
        (
            {
                "kind": "interpolation",
                "from": {"kind": "gaussian", "fit": {"activations": {"dataset": "x"}}},
                "to": {"kind": "isotropic", "std": 3.0},
            },
            "interpolation(x, isotropic(3))",
        ),
        ({"kind": "isotropic", "std": 0.02}, "isotropic"),
        ({"kind": "isotropic", "std": 1.0}, "isotropic(1)"),
        (None, "unknown"),
    ],
)
def test_a_prior_in_a_few_words(prior: dict[str, object] | None, label: str) -> None:
    assert prior_label(prior) == label
