"""Scores by prior and rate: means over seeds of what members.json has."""

from __future__ import annotations

import json
from typing import Any

from demo.study.page.study_blocks import STUDY_BLOCKS
from demo.study.plan import Size
from demo.study.plans.smollm2 import SMOLLM2
from demo.study.record import Record
from demo.study.scores import read_scores, scores_of


def member(prior: dict[str, Any], *, seed: int, lr: float = 0.005, **metrics: float) -> dict[str, Any]:
    names = {f"{name.replace('__', '/')}": value for name, value in metrics.items()}
    return {"prior": prior, "seed": seed, "lr": lr, "metrics": names}


ISOTROPIC = {"kind": "isotropic", "std": 0.02}
MEMBERS = [
    member(
        ISOTROPIC, seed=0, bare__test__loss=4.0, draw__test__loss=5.0, test__loss=1.0, test__f1=0.25, bare__test__f1=0.0
    ),
    member(
        ISOTROPIC, seed=1, bare__test__loss=4.0, draw__test__loss=6.0, test__loss=2.0, test__f1=0.75, bare__test__f1=0.0
    ),
    member(ISOTROPIC, seed=0, lr=0.001, test__loss=3.0),
    member({"kind": "xavier"}, seed=0),
]


def test_a_row_has_the_means_of_a_prior_at_a_rate() -> None:
    first, slow, without = scores_of("soft", MEMBERS)
    assert (first["run"], first["lr"], first["n"]) == ("soft", 0.005, 2)
    assert [first[form]["loss"] for form in ("bare", "draw", "tuned")] == [4.0, 5.5, 1.5]
    assert (first["lowest"], first["highest"], first["tuned"]["f1"]) == (1.0, 2.0, 0.5)
    assert (slow["lr"], slow["n"], slow["tuned"]["loss"], slow["bare"]["loss"]) == (0.001, 1, 3.0, None)
    assert without["tuned"]["loss"] is None
    assert "lowest" not in without


def test_the_page_shows_them() -> None:
    record = Record(plan="smollm2", size=Size(steps=1), scores=tuple(read_scores("soft", json.dumps(MEMBERS))))
    lines = STUDY_BLOCKS["scores"](record, SMOLLM2).splitlines()
    assert lines[2].endswith("| 0.005 | 4 → 5.5 → 1.5 | 1 to 2 | – → – | 0 % → 50 % |")
    assert len(lines) == 5
    assert STUDY_BLOCKS["scores"](Record(plan="smollm2", size=Size(steps=1)), SMOLLM2) == "Not measured."
