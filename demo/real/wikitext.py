"""WikiText-2: running text of Wikipedia articles, and cloze items whose last word is held out."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from demo.real.datasets import RealDataset, shuffled, split_groups
from demo.real.folder import BadData, RealFile, read_text
from demo.real.sentences import sentence_spans

TEXT_NAME: Final = "wikitext-2"
CLOZE_NAME: Final = "wikitext-2-cloze"
FILE: Final = RealFile(path="wikitext-2/valid.txt", what="the validation part of WikiText-2, with = Title = lines")
CLOZE_TEMPLATE: Final = {"input": "{start}", "target": " {word}"}
MIN_WORDS: Final = 6
MAX_WORDS: Final = 40
UNKNOWN: Final = "<unk>"

_TITLE: Final = re.compile(r"= (?!= )(.+?) =")
_HEADING: Final = re.compile(r"(?:= )+.+(?: =)+")
_LAST_WORD: Final = re.compile(r"(.+) ([A-Za-z]+)[.!?]")
# The corpus separates punctuation by spaces, and marks joined signs by @.
_JOINED: Final = re.compile(r" @([-,.])@ ")
_BEFORE: Final = re.compile(r" ([,.;:!?%)\]]|'s\b|n't\b|')")
_AFTER: Final = re.compile(r"([(\[$£]) ")
_QUOTED: Final = re.compile(r'" (.*?) "')


@dataclass(frozen=True)
class Sentences:
    """The sentences of a paragraph without unknown words. n_dropped: sentences that have some."""

    title: str
    texts: tuple[str, ...]
    n_dropped: int


def wikitext_files() -> tuple[RealFile, ...]:
    """The files that `wikitext` and `wikitext_cloze` read."""
    return (FILE,)


def wikitext(folder: Path, *, seed: int = 0) -> RealDataset:
    """Paragraphs as running text. Fields: ``text title split``. All paragraphs of an article are in one split.

    Headings are left out. The spaces and marks that the corpus puts around punctuation are removed, because a pretrained model
    has seen plain text. Sentences with ``<unk>`` are left out, because the mark is no word: they would reward a prompt that
    predicts it. ``n_left_out`` counts these sentences. Paragraphs with fewer than six words left are left out as well.

    Raises:
        MissingData, BadData: the file is missing, or has fewer than three articles.
    """
    paragraphs = list(_paragraphs(folder))
    splits = _splits(folder, paragraphs, seed=seed)
    records = [
        {"text": text, "title": one.title, "split": splits[one.title]}
        for one in paragraphs
        if len((text := " ".join(one.texts)).split()) >= MIN_WORDS
    ]
    n_left_out = sum(one.n_dropped for one in paragraphs)
    return RealDataset(name=TEXT_NAME, records=shuffled(records, seed=seed), n_left_out=n_left_out)


def wikitext_cloze(folder: Path, *, seed: int = 0) -> RealDataset:
    """Sentences whose last word is to be predicted. Fields: ``start word title split``; splits are those of `wikitext`.

    Sentences have 6 to 40 words and end in a word of letters; the final punctuation is left out. Equal starts are used once, with
    their first word. ``n_left_out`` counts all other sentences.

    Raises:
        MissingData, BadData: the file is missing, or has fewer than three articles.
    """
    paragraphs = list(_paragraphs(folder))
    splits = _splits(folder, paragraphs, seed=seed)
    found: dict[str, dict[str, str]] = {}
    for one in paragraphs:
        for sentence in one.texts:
            match = _LAST_WORD.fullmatch(sentence)
            if match and MIN_WORDS <= len(sentence.split()) <= MAX_WORDS:
                fields = {"start": match[1], "word": match[2], "title": one.title, "split": splits[one.title]}
                found.setdefault(match[1], fields)
    n_sentences = sum(len(one.texts) + one.n_dropped for one in paragraphs)
    records = shuffled(list(found.values()), seed=seed)
    return RealDataset(name=CLOZE_NAME, records=records, template=CLOZE_TEMPLATE, n_left_out=n_sentences - len(records))


def plain(text: str) -> str:
    """Text of the corpus with the usual spaces around punctuation."""
    text = _JOINED.sub(r"\1", text.strip())
    text = _QUOTED.sub(r'"\1"', text)
    return _AFTER.sub(r"\1", _BEFORE.sub(r"\1", text))


def _splits(folder: Path, paragraphs: list[Sentences], *, seed: int) -> dict[str, str]:
    try:
        return {**split_groups([one.title for one in paragraphs], seed=seed)}
    except ValueError as error:
        raise BadData(folder / FILE.path, expected="articles for three splits", got=str(error)) from None


def _paragraphs(folder: Path) -> Iterator[Sentences]:
    title: str | None = None
    for line in map(str.strip, read_text(folder, file=FILE).splitlines()):
        if found := _TITLE.fullmatch(line):
            title = found[1]
        elif line and not _HEADING.fullmatch(line):
            if title is None:
                raise BadData(
                    folder / FILE.path, expected="a line = Title = before the first text", got=repr(line[:60])
                )
            text = plain(line)
            sentences = [text[start:end] for start, end in sentence_spans(text)]
            known = tuple(sentence for sentence in sentences if UNKNOWN not in sentence)
            yield Sentences(title, known, len(sentences) - len(known))
