"""GSM8K: grade-school problems with a chain of reasoning and a number."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from demo.real.datasets import RealDataset, Record, shuffled, split_groups
from demo.real.folder import BadData, RealFile, read_text

NAME: Final = "gsm8k"
FILE: Final = RealFile(path="gsm8k-train.jsonl", what="OpenAI's GSM8K, a JSON object with question and answer per line")
TEMPLATE: Final = {"input": "Question: {question}\nAnswer:", "target": " {chain}\n#### {final}"}
MARK: Final = "####"
_ANNOTATION: Final = re.compile(r"<<.*?>>")


def gsm8k_files() -> tuple[RealFile, ...]:
    """The files that `gsm8k` reads."""
    return (FILE,)


def gsm8k(folder: Path, *, n: int | None = None, seed: int = 0) -> RealDataset:
    """Problems with their solutions. Fields: ``question chain final answers split``.

    The calculator annotations ``<<…>>`` are removed: they are for a tool that the model does not have. Equal questions are used
    once. n: a random sample of this many problems; None: all.

    Raises:
        MissingData, BadData: the file is missing, or a line is no problem with a final number.
    """
    records = list({record["question"]: record for record in _records(folder)}.values())
    n_read = len(records)
    chosen = shuffled(records, seed=seed)[:n]
    try:
        splits = split_groups([record["question"] for record in chosen], seed=seed)
    except ValueError as error:
        raise BadData(folder / FILE.path, expected="problems for three splits", got=str(error)) from None
    divided = tuple({**record, "split": splits[record["question"]]} for record in chosen)
    return RealDataset(name=NAME, records=divided, template=TEMPLATE, n_left_out=n_read - len(divided))


def _records(folder: Path) -> Iterator[Record]:
    for number, line in enumerate(read_text(folder, file=FILE).splitlines(), 1):
        if line.strip():
            yield _record(folder / FILE.path, line=line, number=number)


def _record(path: Path, *, line: str, number: int) -> Record:
    try:
        row = json.loads(line)
    except ValueError:
        raise BadData(path, expected=f"a JSON object in line {number}", got=repr(line[:60])) from None
    question, answer = (row.get(name) if isinstance(row, dict) else None for name in ("question", "answer"))
    if not isinstance(question, str) or not isinstance(answer, str):
        raise BadData(path, expected=f"texts 'question' and 'answer' in line {number}", got=repr(line[:60]))
    chain, mark, final = answer.rpartition(MARK)
    if not mark or not final.strip():
        raise BadData(path, expected=f"an answer that ends in '{MARK} number' in line {number}", got=repr(answer[-60:]))
    chain = "\n".join(part.strip() for part in _ANNOTATION.sub("", chain).strip().splitlines())
    return {"question": question.strip(), "chain": chain, "final": final.strip(), "answers": [final.strip()]}
