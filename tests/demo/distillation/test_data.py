"""The datasets of the experiment: equal inputs, correct answers, and controls that are wrong in training only."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from demo.distillation.data import DIRECT, SHUFFLED, STEPS, WRONG, datasets_of
from demo.distillation.size import QUICK

FOUND = datasets_of(QUICK)


def test_all_have_the_same_inputs_and_answers_in_their_splits() -> None:
    shown = {name: [(one["input"], one["answers"], one["split"]) for one in records] for name, records in FOUND.items()}
    assert set(FOUND) == {DIRECT, STEPS, SHUFFLED, WRONG}
    assert all(one == shown[STEPS] for one in shown.values())
    counts = Counter(split for *_, split in shown[STEPS])
    assert counts == {"train": QUICK.n_train, "validation": QUICK.n_validation, "test": QUICK.n_test}


def followed(text: str) -> str:
    """The holder after five hands, followed through the list of an input."""
    pairs = dict(re.findall(r"(\w+) (\w+)[;.]", text))
    holder = text.rpartition(" ")[2].removesuffix(":")
    for _ in range(5):
        holder = pairs[holder]
    return holder


@pytest.mark.parametrize("name", [DIRECT, STEPS, WRONG])
def test_targets_end_in_the_result_of_the_input(name: str) -> None:
    for one in FOUND[name]:
        assert one["answers"] == [followed(one["input"])]
        assert one["target"].rpartition(" ")[2] == one["answers"][0]


def test_correct_steps_are_listed_and_wrong_ones_are_people_of_the_list() -> None:
    for right, wrong in zip(FOUND[STEPS], FOUND[WRONG], strict=True):
        listed = re.findall(r"(\w+) (\w+)[;.]", right["input"])
        assert set(re.findall(r"(\w+) (\w+);", right["target"])) <= set(listed)
        assert set(re.findall(r"\w+", wrong["target"])) <= {name for pair in listed for name in pair}


def test_controls_differ_from_the_steps_in_training_only() -> None:
    for name in (SHUFFLED, WRONG):
        for one, steps in zip(FOUND[name], FOUND[STEPS], strict=True):
            if one["split"] == "train":
                assert len(one["target"].split()) == len(steps["target"].split())
            else:
                assert one["target"] == steps["target"]
    trained = [i for i, one in enumerate(FOUND[STEPS]) if one["split"] == "train"]
    assert all(FOUND[WRONG][i]["target"] != FOUND[STEPS][i]["target"] for i in trained)
    assert sorted(FOUND[SHUFFLED][i]["target"] for i in trained) == sorted(FOUND[STEPS][i]["target"] for i in trained)
    assert all(FOUND[SHUFFLED][i]["target"] != FOUND[STEPS][i]["target"] for i in trained)
