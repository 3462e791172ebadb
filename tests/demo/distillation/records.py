"""Records of an experiment with invented answers."""

from __future__ import annotations

from typing import Any

from demo.distillation.record import Answers, Done, Record
from demo.distillation.size import QUICK

N = 40
"""Chains."""


def answers(run: str, *, n_right: int, n_tokens: int, **fields: Any) -> Answers:
    """Answers of which the first ``n_right`` are right."""
    known = {
        "group": "student",
        "method": "soft",
        "what": "all steps",
        "prior": "isotropic",
        "seed": 0,
        "rate": 0.01,
        "stage": "after",
        "step": 2,
        **fields,
    }
    return Answers(run=run, right=[int(i < n_right) for i in range(N)], n_tokens=[n_tokens] * N, **known)


CONTEXTS = {"bare": (0, 24), "result at once": (8, 2), "teacher": (40, 18), "be brief": (36, 9)}
SOURCES = {"direct": (6, 2), "steps": (39, 18)}
BASELINES = {"curriculum": 5, "wrong": 4}
PARTS = {"all steps": (34, 18), "half the tokens": (30, 9), "the answer": (8, 2)}


def record() -> Record:
    """The teacher is right in 40 of 40 answers with 18 tokens; isotropic students in 34, 30 and 8, depending on their part.

    From the posterior of the steps, students of all steps are right in 39 at the end, and all students reach in step 1 what
    isotropic ones have in step 2.
    """
    made = [
        answers(f"context-{what}", n_right=n, n_tokens=n_tokens, group="context", method="", what=what, prior="")
        for what, (n, n_tokens) in CONTEXTS.items()
    ]
    for seed in (0, 1):
        known: dict[str, Any] = {"seed": seed, "loss": 0.1}
        for task, (n, n_tokens) in SOURCES.items():
            made.append(
                answers(f"source-soft-{task}", n_right=n, n_tokens=n_tokens, group="source", what=task, **known)
            )
        for what, n in BASELINES.items():
            made.append(answers(f"baseline-{what}", n_right=n, n_tokens=2, group="baseline", what=what, **known))
        made += _students(seed)
        for rate, n, loss in ((0.01, 3, 0.9), (0.03, 7, 0.3)):
            of = {"group": "capacity", "method": "deep", "what": "layer-5", "rate": rate, "loss": loss}
            made.append(answers("layer-5", n_right=n, n_tokens=2, seed=seed, **of))
    probes = [
        {"variant": variant, "layer": layer, "n_hands": n, "accuracy": 0.1 * layer}
        for variant in ("no prompt", "header: all steps")
        for layer in (0, 5)
        for n in range(1, 6)
    ]
    runs = {name: Done(run_id=f"run-{name}", seconds=60.0, cost=2.0) for name in {one.run for one in made}}
    spread = {"vocabulary": [[0.0, 1.0], [1.0, 0.0]], "tuned: steps": [[0.5, 0.5]]}
    return Record(
        size=QUICK, revision="0" * 64, rates={"soft": 0.03}, runs=runs, answers=made, probes=probes, spread=spread
    )


def _students(seed: int) -> list[Answers]:
    made = []
    for part, (n, n_tokens) in PARTS.items():
        run = f"student-soft-{part.replace(' ', '-')}"
        for prior, loss in (("isotropic", 0.5), ("steps", 0.2)):
            of: dict[str, Any] = {"what": part, "prior": prior, "seed": seed, "n_tokens": n_tokens}
            final = 39 if (part, prior) == ("all steps", "steps") else n
            made.append(answers(run, n_right=0, stage="before", step=0, **of))
            made.append(answers(run, n_right=n if prior == "steps" else 1, stage="during", step=1, **of))
            made.append(answers(run, n_right=final, loss=loss, **of))
    return made
