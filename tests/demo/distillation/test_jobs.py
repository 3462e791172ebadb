"""The runs: valid specs of the wire format, and what their members are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from promptatlas.types import DistillSpec, EvaluateSpec, GenerateSpec, TuneSpec

from demo.distillation import jobs
from demo.distillation.jobs import Job
from demo.distillation.size import FULL, PARTS, QUICK, Size

SPECS: dict[str, type[Any]] = {
    "tune": TuneSpec,
    "distill": DistillSpec,
    "evaluate": EvaluateSpec,
    "generate": GenerateSpec,
}


def all_jobs(size: Size) -> list[Job]:
    rates: dict[str, float] = dict.fromkeys(map(str, size.methods), 0.1)
    sources = jobs.source_jobs(size, rates=rates)
    prompts = {job.name: [f"{job.name}@{i}" for i in (1, 2)] for job in sources}
    return [
        *jobs.trace_jobs(),
        *jobs.context_jobs(),
        *jobs.pilot_jobs(size),
        *sources,
        *jobs.student_jobs(size, rates=rates, prompts=prompts),
        *jobs.baseline_jobs(size, rates=rates),
        *jobs.capacity_jobs(size, rates=rates),
    ]


@pytest.mark.parametrize("size", [FULL, QUICK])
def test_specs_are_valid_and_names_differ(size: Size) -> None:
    found = all_jobs(size)
    assert len({job.name for job in found}) == len(found)
    for job in found:
        SPECS[job.kind].model_validate(job.spec)


def by_name(found: Sequence[Job], name: str) -> Job:
    return next(job for job in found if job.name == name)


def test_every_method_learns_every_part_from_every_prior() -> None:
    found = [job for job in all_jobs(FULL) if job.facts["group"] == "student"]
    assert [(job.facts["what"], job.facts["method"]) for job in found] == [
        (part, method) for part in PARTS for method in FULL.methods
    ]
    for job in found:
        assert job.priors == FULL.priors_of(job.facts["method"])
        assert len(job.spec["priors"]) == len(job.priors)


def test_posteriors_are_of_the_same_kind_and_prefixes_start_from_soft_vectors() -> None:
    found = all_jobs(FULL)
    for method, drawn in (("soft", "soft"), ("deep", "deep"), ("prefix", "soft"), ("steering", "steering")):
        spec = by_name(found, f"student-{method}-all-steps").spec
        posteriors = [prior["prompts"][0] for prior in spec["priors"] if prior["kind"] == "posterior"]
        assert posteriors
        assert {ref.split("-")[1] for ref in posteriors} == {drawn}


def test_a_posterior_without_prompts_is_left_out() -> None:
    (job, *_) = jobs.student_jobs(QUICK, rates={"soft": 0.1}, prompts={})
    assert job.priors == ("isotropic",)


def test_the_curriculum_has_removed_all_steps_before_its_end() -> None:
    job = by_name(all_jobs(FULL), "baseline-curriculum")
    removal = job.spec["target"]["part"]["remove_per_epoch"]
    removed = [int(removal * step * FULL.batch_size / FULL.n_train + 1e-9) for step in range(FULL.steps)]
    assert removed[0] == 0
    assert removed[-1] >= 5
    assert removed.index(5) == pytest.approx(0.7 * FULL.steps, abs=1)


def test_all_students_but_the_control_of_texts_read_the_bare_chain() -> None:
    for job in all_jobs(FULL):
        assert ("template" in job.spec) == (job.facts["group"] == "context")
