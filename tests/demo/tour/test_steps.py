"""The variants in which the questions of a task are completed."""

from __future__ import annotations

from demo.tour.outcomes import Outcome
from demo.tour.steps import variants_of
from demo.tour.tour import Task
from tests.demo.tour.members import job, member, outcome


def run(dataset: str, kind: str, *, prior: str = "near") -> Outcome:
    one = member(prior, losses=[8.0, 0.1], after=0.9)
    return outcome(
        job=job(dataset=dataset, method={"kind": kind}),
        members=(type(one)(**{**vars(one), "prompt": f"{dataset}-{kind}@1"}),),
    )


def task(*, mixes_seeds: bool) -> Task:
    return Task(title="sums", dataset="d", reference="instructed", frame=lambda chat: "", mixes_seeds=mixes_seeds)


OUTCOMES = [run("other", "soft"), run("d", "soft"), run("d", "deep"), run("other", "deep")]


def test_each_run_of_the_task_has_a_variant() -> None:
    found = variants_of(task(mixes_seeds=False), outcomes=OUTCOMES, frame="Go. {input}")
    assert [(variant.label, variant.prompt, variant.frame) for variant in found] == [
        ("bare", None, None),
        ("instructed", None, "Go. {input}"),
        ("soft", "d-soft@1", None),
        ("deep", "d-deep@1", None),
        ("other task's", "other-soft@1", None),
    ]


def test_seeds_are_mixed_equally() -> None:
    first = member("near", losses=[8.0, 0.1], after=0.9)
    second = type(first)(**{**vars(first), "seed": 4, "prompt": "t-near-4@1"})
    far = member("far", losses=[8.0, 3.0], after=0.9)
    several = outcome(members=(first, second, far))
    found = variants_of(task(mixes_seeds=True), outcomes=[several, OUTCOMES[0]], frame="")
    (mixed,) = (variant.prompt for variant in found if variant.label == "seeds mixed")
    assert mixed == {"mix": [{"ref": "t-near-3@1", "weight": 0.5}, {"ref": "t-near-4@1", "weight": 0.5}]}
