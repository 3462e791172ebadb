"""Real data for the contests: arithmetic of DeepMind's mathematics_dataset and questions of SQuAD, as token ids."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any, Final

from transformers import AutoTokenizer

from benchmarks.contests.smollm2.model import END_OF_TEXT, model_folder
from benchmarks.measuring.contest import Unavailable
from workers.inputs.examples import EncodedExample

VARIABLE: Final = "PROMPTATLAS_DATA"
DEFAULT: Final = Path(__file__).resolve().parents[4] / "shared" / "data"
ARITHMETIC: Final = "deepmind-math/train-easy"
SQUAD: Final = "squad-en.json"
SEED: Final = 17

Pair = tuple[str, str]
"""A question and its answer."""


def data_path(name: str) -> Path:
    """A file or folder of the real data.

    Raises:
        Unavailable: it is missing.
    """
    path = Path(os.environ.get(VARIABLE) or DEFAULT) / name
    if not path.exists():
        raise Unavailable(f"there is no {name} in the folder of real data; --data or {VARIABLE} says where it is")
    return path


def arithmetic(n: int) -> list[EncodedExample]:
    """``n`` questions of all arithmetic modules at the easy level, in a random order."""
    pairs = []
    for file in sorted(data_path(ARITHMETIC).glob("arithmetic__*.txt")):
        lines = file.read_text(encoding="utf-8").splitlines()
        pairs += [
            (f"Question: {question}\nAnswer:", f" {answer}")
            for question, answer in zip(lines[::2], lines[1::2], strict=True)
        ]
    return _encoded(_drawn(pairs, n=n))


def squad(n: int, *, longest_context: int) -> list[EncodedExample]:
    """``n`` questions with their contexts, which have at most ``longest_context`` tokens, in a random order."""
    articles = json.loads(data_path(SQUAD).read_text(encoding="utf-8"))["data"]
    paragraphs = [paragraph for article in articles for paragraph in article["paragraphs"]]
    lengths = [len(ids) for ids in load_tokenizer()([one["context"] for one in paragraphs])["input_ids"]]
    pairs = [
        (f"{paragraph['context']}\nQuestion: {qa['question']}\nAnswer:", f" {qa['answers'][0]['text']}")
        for paragraph, length in zip(paragraphs, lengths, strict=True)
        if length <= longest_context
        for qa in paragraph["qas"]
    ]
    return _encoded(_drawn(pairs, n=n))


def load_tokenizer() -> Any:
    """The tokenizer of the model."""
    return AutoTokenizer.from_pretrained(model_folder())


def _drawn(pairs: list[Pair], *, n: int) -> list[Pair]:
    if len(pairs) < n:
        raise Unavailable(f"expected at least {n} questions in the real data, got {len(pairs)}")
    return random.Random(SEED).sample(pairs, n)


def _encoded(pairs: list[Pair]) -> list[EncodedExample]:
    """An end of text follows each answer, as in a tune."""
    tokenizer = load_tokenizer()
    inputs = tokenizer([question for question, _ in pairs])["input_ids"]
    targets = tokenizer([answer for _, answer in pairs], add_special_tokens=False)["input_ids"]
    return [EncodedExample(tuple(a), (*b, END_OF_TEXT)) for a, b in zip(inputs, targets, strict=True)]
