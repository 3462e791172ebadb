"""SQuAD: questions whose answers are spans of a paragraph, with contexts cut to some sentences."""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from demo.real.datasets import RealDataset, shuffled, split_groups
from demo.real.folder import BadData, RealFile, read_text
from demo.real.sentences import Span, sentence_spans

NAME: Final = "squad"
FILE: Final = RealFile(
    path="squad-en.json", what="SQuAD 1.1 or the English part of XQuAD, JSON with data, paragraphs and qas"
)
TEMPLATE: Final = {"input": "{context}\nQuestion: {question}\nAnswer:", "target": " {answer}"}

Counter = Callable[[str], int]
"""Number of tokens of a text."""


@dataclass(frozen=True)
class Answered:
    """A question about a paragraph. spans: where its answers are in the context, the first one first."""

    title: str
    context: str
    id: str
    question: str
    spans: tuple[Span, ...]


def squad_files() -> tuple[RealFile, ...]:
    """The files that `squad` reads."""
    return (FILE,)


def squad(folder: Path, *, max_tokens: int, count: Counter, seed: int = 0) -> RealDataset:
    """Questions with a cut context. Fields: ``id title context question answer answers split``.

    All questions about an article are in one split. The time of a step is proportional to the number of tokens, and most of a
    paragraph is far from the answer. The context is therefore cut to whole sentences: those of the first answer, and neighbours
    before and after them, in random order, as long as it has at most ``max_tokens``. The answer can be anywhere in it. This
    makes the task easier than SQuAD, so scores cannot be compared with published ones. Questions whose own sentences are longer
    than the limit are left out. Other answers are kept if they are in the cut context.

    Args:
        max_tokens: of a context. count: number of tokens of a text, for the model's tokenizer.

    Raises:
        MissingData, BadData: the file is missing, or is not SQuAD's JSON.
    """
    questions = list(_questions(folder / FILE.path, value=_parse(folder)))
    try:
        splits = split_groups([one.title for one in questions], seed=seed)
    except ValueError as error:
        raise BadData(folder / FILE.path, expected="articles for three splits", got=str(error)) from None
    records = []
    for one in questions:
        span = cut(one.context, span=one.spans[0], max_tokens=max_tokens, count=count, seed=f"{seed}:{one.id}")
        if span is not None:
            records.append({**_fields(one, span=span), "split": splits[one.title]})
    n_left_out = len(questions) - len(records)
    return RealDataset(name=NAME, records=shuffled(records, seed=seed), template=TEMPLATE, n_left_out=n_left_out)


def cut(context: str, *, span: Span, max_tokens: int, count: Counter, seed: str) -> Span | None:
    """The part of a context around a span, whole sentences with at most ``max_tokens``; None if there is none."""
    sentences = sentence_spans(context)
    touched = [i for i, (start, end) in enumerate(sentences) if start < span[1] and end > span[0]]
    if not touched:
        return None

    def fits(first: int, last: int) -> bool:
        return count(context[sentences[first][0] : sentences[last][1]]) <= max_tokens

    first, last = touched[0], touched[-1]
    if not fits(first, last):
        return None
    generator, open_sides = random.Random(seed), ["before", "after"]
    while open_sides:
        side = generator.choice(open_sides)
        wider = (first - 1, last) if side == "before" else (first, last + 1)
        if wider[0] >= 0 and wider[1] < len(sentences) and fits(*wider):
            first, last = wider
        else:
            open_sides.remove(side)
    return sentences[first][0], sentences[last][1]


def _fields(one: Answered, *, span: Span) -> dict[str, Any]:
    start, end = span
    inside = [one.context[a:b] for a, b in one.spans if start <= a and b <= end]
    answers = list(dict.fromkeys(inside))
    known = {"id": one.id, "title": one.title, "context": one.context[start:end], "question": one.question}
    return {**known, "answer": answers[0], "answers": answers}


def _parse(folder: Path) -> Any:
    try:
        return json.loads(read_text(folder, file=FILE))
    except ValueError as error:
        raise BadData(folder / FILE.path, expected="JSON", got=str(error)) from None


def _questions(path: Path, *, value: Any) -> Iterator[Answered]:
    for i, article in enumerate(_list(path, value, key="data", where="the file")):
        where = f"data[{i}]"
        title = _text(path, article, key="title", where=where)
        for j, paragraph in enumerate(_list(path, article, key="paragraphs", where=where)):
            inner = f"{where}.paragraphs[{j}]"
            context = _text(path, paragraph, key="context", where=inner)
            for k, item in enumerate(_list(path, paragraph, key="qas", where=inner)):
                if not (isinstance(item, dict) and item.get("is_impossible") is True):
                    yield _question(path, item, title=title, context=context, where=f"{inner}.qas[{k}]")


def _question(path: Path, item: Any, *, title: str, context: str, where: str) -> Answered:
    question = _text(path, item, key="question", where=where).strip()
    spans = []
    for answer in _list(path, item, key="answers", where=where):
        text = _text(path, answer, key="text", where=f"{where}.answers")
        start = answer.get("answer_start")
        if not isinstance(start, int) or context[start : start + len(text)] != text:
            raise BadData(path, expected=f"the answer {text[:40]!r} at answer_start in {where}", got=repr(start))
        spans.append((start, start + len(text)))
    if not spans:
        raise BadData(path, expected=f"at least one answer in {where}", got="none")
    return Answered(title, context, _text(path, item, key="id", where=where), question, tuple(spans))


def _list(path: Path, value: Any, *, key: str, where: str) -> list[Any]:
    found = value.get(key) if isinstance(value, dict) else None
    if not isinstance(found, list):
        raise BadData(path, expected=f"a list {key!r} in {where}", got=type(found).__name__)
    return found


def _text(path: Path, value: Any, *, key: str, where: str) -> str:
    found = value.get(key) if isinstance(value, dict) else None
    if not isinstance(found, str) or not found:
        raise BadData(path, expected=f"text {key!r} in {where}", got=type(found).__name__)
    return found
