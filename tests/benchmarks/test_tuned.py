from __future__ import annotations

import pytest
import torch

from benchmarks.measuring.tuned import begun_alike, tuned_alike
from benchmarks.sides.tuning import IGNORED, Tuned, padded
from workers.inputs.examples import EncodedExample


def tuned(*, loss: float = 0.0, vector: float = 0.0) -> Tuned:
    losses, vectors = torch.full((7, 2), 3.0), torch.ones(5, 3)
    losses[5, 1] += loss
    vectors[4, 2] += vector
    return Tuned(losses=losses, tensors=[{"soft": torch.ones(5, 3)}, {"soft": vectors}])


@pytest.mark.parametrize(
    ("changes", "holds"), [({}, [True, True]), ({"loss": 0.01}, [False, True]), ({"vector": 0.01}, [True, False])]
)
def test_losses_and_vectors_are_looked_at_apart(changes: dict[str, float], holds: list[bool]) -> None:
    assert [agreement.holds for agreement in tuned_alike("a against b", tuned(**changes), tuned())] == holds


def test_only_the_first_steps_need_be_alike_where_rounding_leads_on() -> None:
    got = [begun_alike("a against b", tuned(loss=1.0), tuned(), n_steps=n)[0].holds for n in (5, 6)]
    assert got == [True, False]


def test_padding_has_no_loss_and_no_attention() -> None:
    rows = padded([EncodedExample((4, 5), (6,)), EncodedExample((7,), (8, 9, 3))], pad_to=5)
    assert rows["input_ids"].tolist() == [[4, 5, 6, 0, 0], [7, 8, 9, 3, 0]]
    assert rows["attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 0]]
    assert rows["labels"].tolist() == [[IGNORED, IGNORED, 6, IGNORED, IGNORED], [IGNORED, 8, 9, 3, IGNORED]]
    with pytest.raises(ValueError, match="at most 3 tokens, got 4"):
        padded([EncodedExample((1, 2), (3, 4))], pad_to=3)
