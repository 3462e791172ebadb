from __future__ import annotations

from collections.abc import Sequence

import pytest
from promptatlas.types.tuning import TuneSpec

from tests.workers.tuning.small_run import SPEC
from tests.workers.tuning.small_training import TRAIN, hosted
from workers.tuning.parts.division import (
    CPU_TOKENS,
    DEVICE_TOKENS,
    PART_FLOP,
    MemberWork,
    divide,
    work_of_member,
)

LARGE = MemberWork(n_tokens=CPU_TOKENS, flop=PART_FLOP)


def sizes(n_members: int, work: MemberWork, *, device_type: str = "cpu") -> Sequence[int]:
    return [len(part) for part in divide(n_members, work=work, device_type=device_type)]


@pytest.mark.parametrize("n_members", [1, 2, 5, 8, 64])
@pytest.mark.parametrize("n_tokens", [100, 700, 1200, 5000])
@pytest.mark.parametrize("flop", [PART_FLOP / 9, PART_FLOP / 2, PART_FLOP, 1e18])
def test_every_part_is_large_and_every_member_in_one(n_members: int, n_tokens: int, flop: float) -> None:
    parts = divide(n_members, work=MemberWork(n_tokens=n_tokens, flop=flop), device_type="cpu")
    assert [member for part in parts for member in part] == list(range(n_members))
    if len(parts) > 1:
        assert all(len(part) * n_tokens >= CPU_TOKENS for part in parts)
        assert all(len(part) * flop >= PART_FLOP for part in parts)


def test_members_that_fill_a_forward_are_parts() -> None:
    assert sizes(4, LARGE) == [1, 1, 1, 1]
    assert sizes(7, MemberWork(n_tokens=CPU_TOKENS / 2, flop=PART_FLOP)) == [2, 2, 3]


def test_short_trainings_are_one_part() -> None:
    assert sizes(8, MemberWork(n_tokens=CPU_TOKENS, flop=PART_FLOP / 8)) == [8]
    assert sizes(8, MemberWork(n_tokens=CPU_TOKENS / 8, flop=PART_FLOP)) == [8]
    assert sizes(1, LARGE) == [1]


def test_parts_of_an_accelerator_have_larger_forwards() -> None:
    work = MemberWork(n_tokens=DEVICE_TOKENS / 2, flop=PART_FLOP)
    assert sizes(8, work, device_type="cuda") == [2, 2, 2, 2]


def test_the_work_of_a_member_counts_tokens_and_weights() -> None:
    spec = TuneSpec.model_validate({**SPEC, "optimizer": {"steps": 7, "batch_size": 6, "accumulate": 3}})
    work = work_of_member(spec, model=hosted(), train=TRAIN)
    n_step = 6 * sum(len(e.input_ids) + len(e.target_ids) - 1 for e in TRAIN) / len(TRAIN) + 3 * 3
    n_weights = sum(parameter.numel() for parameter in hosted().module.parameters())
    assert work.n_tokens == pytest.approx(n_step / 3)
    assert work.flop == pytest.approx(4 * n_weights * 7 * n_step)
