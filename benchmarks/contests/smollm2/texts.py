"""Texts as token ids: the demo's stories, one after the other, cut to the lengths that a contest needs."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Sequence
from typing import Final

from benchmarks.contests.smollm2.data import load_tokenizer
from demo.datasets import FOLDER, file_name

N_STORIES: Final = 1_000


def story_texts(n: int, *, shortest: int, longest: int, seed: int) -> list[tuple[int, ...]]:
    """``n`` parts of the stories; lengths are uniform from ``shortest`` to ``longest`` tokens.

    Raises:
        ValueError: the stories are shorter in total.
    """
    draw = random.Random(seed)
    lengths = [draw.randint(shortest, longest) for _ in range(n)]
    ids = _story_ids()
    if sum(lengths) > len(ids):
        raise ValueError(f"expected at most {len(ids)} tokens, got {sum(lengths)}.")
    texts, begin = [], 0
    for length in lengths:
        texts.append(tuple(ids[begin : begin + length]))
        begin += length
    return texts


def _story_ids() -> Sequence[int]:
    with gzip.open(FOLDER / file_name("text"), "rt", encoding="utf-8") as lines:
        stories = [json.loads(line)["text"] for line, _ in zip(lines, range(N_STORIES), strict=False)]
    ids: list[int] = load_tokenizer()("\n".join(stories))["input_ids"]
    return ids
