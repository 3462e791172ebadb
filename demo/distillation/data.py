"""The datasets of the experiment: chains with their results, their steps, and the traces of the controls."""

import random
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from promptatlas import Client

from demo.chains import path_text
from demo.distillation.size import Size
from demo.tasks import Example, examples
from demo.world import Split

DIRECT: Final = "chains"
STEPS: Final = "chains-in-steps"
SHUFFLED: Final = "chains-shuffled"
WRONG: Final = "chains-wrong"
SEED: Final = 0

Record = Mapping[str, Any]


def datasets_of(size: Size) -> dict[str, list[Record]]:
    """The records of each dataset. All have the same inputs in the same order, and the same correct answers.

    ``SHUFFLED``: training targets are the steps of other chains. ``WRONG``: the training targets have random listed people in
    place of all holders between the first and the last one.
    """
    shown = {split: chains(split, size=size) for split in ("train", "validation", "test")}
    found: dict[str, list[Record]] = {DIRECT: [], STEPS: [], SHUFFLED: [], WRONG: []}
    for split, chosen in shown.items():
        for one, other in zip(chosen, [*chosen[1:], chosen[0]], strict=True):
            fields = {"input": one.input, "answers": [one.answer], "split": split}
            is_learned = split == "train"
            found[DIRECT].append({**fields, "target": f" {one.answer}"})
            found[STEPS].append({**fields, "target": one.target})
            found[SHUFFLED].append({**fields, "target": other.target if is_learned else one.target})
            found[WRONG].append({**fields, "target": wrong_steps(one) if is_learned else one.target})
    return found


def chains(split: Split, *, size: Size) -> Sequence[Example]:
    """The chains of a split, without header."""
    n = {"train": size.n_train, "validation": size.n_validation, "test": size.n_test}[split]
    return examples("chain-cot", split=split, n=n, seed=SEED, scaffold=False)


def holders(one: Example) -> tuple[str, ...]:
    """The first holder of an example, and the holder after each hand."""
    return tuple(one.key.split())


def wrong_steps(one: Example) -> str:
    """Steps over random listed people, from the first to the last holder of the example."""
    rng = random.Random(f"wrong-{one.key}")
    path = holders(one)
    others = sorted(set(re.findall(r"\w+", one.input)) - {path[0], path[-1], "From"})
    return f" {path_text((path[0], *rng.sample(others, len(path) - 2), path[-1]), style='steps')}"


def upload(client: Client, *, size: Size) -> None:
    """Store all datasets. The same datasets again are no error."""
    for name, records in datasets_of(size).items():
        client.datasets.upload(name, records=records)
