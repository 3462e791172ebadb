from __future__ import annotations

from collections.abc import Sequence

import pytest
from promptatlas.types import ReportSpec, TuneSpec

from demo.study.plan import Size, Tuning
from demo.study.plans.demo_model import DATASETS, DEMO_MODEL, FULL, TINY
from service.planning.checks.members import check_members, members_of
from tests.demo.study.cards import card
from workers.reports.evidence.evidence import prior_label


def tunings(*, size: Size) -> Sequence[Tuning]:
    return DEMO_MODEL.tunings(size, {}, card(n_layers=6))


@pytest.mark.parametrize("size", [FULL, TINY])
def test_specs_are_valid(size: Size) -> None:
    for one in tunings(size=size):
        spec = TuneSpec.model_validate(one.spec)
        check_members(spec)
        assert spec.name == one.name
    report = ReportSpec.model_validate(DEMO_MODEL.report_spec(prompts=["a@1"], size=size, card=card(n_layers=6)))
    assert (report.datasets, report.layers) == (list(DATASETS), "all")


def test_priors_have_distinct_labels() -> None:
    for one in tunings(size=FULL):
        labels = [prior_label(prior) for prior in one.spec["priors"]]
        assert len(set(labels)) == len(labels)


def test_the_study_has_the_data_of_every_finding() -> None:
    runs = {one.name: TuneSpec.model_validate(one.spec) for one in tunings(size=FULL)}
    assert len({spec.name for spec in runs.values()}) == len(runs)
    for spec in runs.values():
        members = members_of(spec)
        assert len({member.seed for member in members}) >= 3
        assert len({member.prior_index for member in members}) >= 2
    kinds = {prior.kind for spec in runs.values() for prior in spec.priors}
    assert kinds >= {"isotropic", "xavier", "vocabulary", "gaussian", "exclusion", "interpolation"}
    rates = {member.lr for spec in runs.values() for member in members_of(spec) if spec.dataset == "demo-qa"}
    assert len(rates) == 4
    assert {spec.method.kind for spec in runs.values()} == {"soft", "deep"}
    assert sum(len(members_of(spec)) for spec in runs.values()) == 111
