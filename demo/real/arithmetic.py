"""Arithmetic of DeepMind's mathematics dataset: addition, subtraction and multiplication of two numbers."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

from demo.real.datasets import RealDataset, Record, shuffled, split_groups
from demo.real.folder import BadData, RealFile, read_text

Module = Literal["add_or_sub", "mul"]
Level = Literal["easy", "medium"]

NAME: Final = "arithmetic"
MODULES: Final[tuple[Module, ...]] = ("add_or_sub", "mul")
LEVELS: Final[tuple[Level, ...]] = ("easy", "medium")
TEMPLATE: Final = {"input": "Question: {question}\nAnswer:", "target": " {answer}"}
_NUMBER: Final = re.compile(r"\d+(?:\.\d+)?")
_ANSWER: Final = re.compile(r"-?\d+(?:\.\d+)?")


def arithmetic_files(*, modules: Sequence[Module] = MODULES, levels: Sequence[Level] = LEVELS) -> tuple[RealFile, ...]:
    """The files that `arithmetic` reads."""
    return tuple(_file(module, level) for level in levels for module in modules)


def arithmetic(
    folder: Path, *, modules: Sequence[Module] = MODULES, levels: Sequence[Level] = LEVELS, seed: int = 0
) -> RealDataset:
    """Questions with a number as the answer. Fields: ``question answer answers module level split``.

    Questions with the same operands are in one split, whatever their wording, signs and operation: a model must not read a test
    answer off a training question. Nothing is cut; the hard level is not read, because its numbers have too many digits for a
    small model to show any difference. A question that occurs again with the same answer is used once.

    Raises:
        MissingData, BadData: a file is missing, or is not questions and answers on alternate lines.
    """
    found: dict[tuple[str, str], Record] = {}
    n_read = 0
    for level in levels:
        for module in modules:
            for question, answer in _pairs(folder, file=_file(module, level)):
                n_read += 1
                fields = {"question": question, "answer": answer, "answers": [answer], "module": module, "level": level}
                found.setdefault((question, answer), fields)
    groups = {key: operands(key[0]) for key in found}
    splits = split_groups(list(groups.values()), seed=seed)
    records = [{**record, "split": splits[groups[key]]} for key, record in found.items()]
    return RealDataset(
        name=NAME, records=shuffled(records, seed=seed), template=TEMPLATE, n_left_out=n_read - len(records)
    )


def operands(question: str) -> tuple[str, ...]:
    """The numbers of a question without signs, sorted."""
    return tuple(sorted(_NUMBER.findall(question)))


def _file(module: Module, level: Level) -> RealFile:
    return RealFile(
        path=f"deepmind-math/train-{level}/arithmetic__{module}.txt",
        what="from DeepMind's mathematics_dataset, question and answer on alternate lines",
    )


def _pairs(folder: Path, *, file: RealFile) -> list[tuple[str, str]]:
    lines = read_text(folder, file=file).splitlines()
    path = folder / file.path
    if len(lines) % 2 or not lines:
        raise BadData(path, expected="question and answer on alternate lines", got=f"{len(lines)} lines")
    pairs = [(question.strip(), answer.strip()) for question, answer in zip(lines[::2], lines[1::2], strict=True)]
    for number, (question, answer) in enumerate(pairs):
        if not _NUMBER.search(question):
            raise BadData(path, expected=f"a question with numbers in line {2 * number + 1}", got=repr(question[:60]))
        if not _ANSWER.fullmatch(answer):
            raise BadData(path, expected=f"a number in line {2 * number + 2}", got=repr(answer[:60]))
    return pairs
