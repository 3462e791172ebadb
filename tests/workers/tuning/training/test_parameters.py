from __future__ import annotations

import torch

from tests.workers.tuning.small_training import FORMS, are_equal, hosted, members, settings, trainer
from workers.tuning.training.parameters import Reparametrised

FORM = FORMS["prefix-reparametrised"]


def make_prefix(seed: int) -> Reparametrised:
    start = FORM.draw(hosted(), seed=3)["prefix"]
    return Reparametrised(start, d_hidden=11, seed=seed, device=torch.device("cpu"))


def test_the_initial_reparametrised_prefix_is_its_draw() -> None:
    start = FORM.draw(hosted(), seed=3)["prefix"]
    torch.testing.assert_close(make_prefix(1).tensors()["prefix"], start, atol=1e-6, rtol=0)


def test_the_network_depends_on_the_seed_of_the_member() -> None:
    assert are_equal(make_prefix(1).leaves, make_prefix(1).leaves)
    assert not torch.equal(make_prefix(1).leaves["embedding"], make_prefix(2).leaves["embedding"])


def test_only_keys_and_values_are_in_the_prompt() -> None:
    team = members(FORM)
    ours = trainer(team, settings(FORM, steps=2))
    ours.step()
    ours.step()
    assert list(ours.result(0)) == ["prefix"]
    assert ours.result(0)["prefix"].shape == team[0].start["prefix"].shape
    assert not ours.result(0)["prefix"].requires_grad
