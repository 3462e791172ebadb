"""Cloze items: passages with one masked word, chosen deterministically from the text."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Final

from promptatlas.types import Template

TEMPLATE = Template(input="{masked}\nMissing word:", target=" {answer}")
GAP: Final = "___"
MIN_WORDS: Final = 6
MAX_WORDS: Final = 48

# A closing quote or bracket stays with its sentence.
_SENTENCE_END = re.compile(r"(?:(?<=[.!?…。！？])|(?<=[.!?…。！？][\"'”’)\]]))\s+")
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_LONG = 4


def items_of(document: str) -> Iterator[dict[str, object]]:
    """One item per passage: ``masked``, ``answer``, and the text ``before`` and ``after`` the gap.

    Passages are whole sentences of up to ``MAX_WORDS`` words; a longer sentence is cut. Passages with fewer than
    ``MIN_WORDS`` words, with a gap, or without a word to mask are skipped.
    """
    for passage in passages_of(document):
        found = _masked_word(passage)
        if found is None:
            continue
        before, answer, after = passage[: found.start()], found.group(), passage[found.end() :]
        yield {"masked": f"{before}{GAP}{after}", "answer": answer, "before": before, "after": after}


def passages_of(document: str) -> Iterator[str]:
    """Passages of up to ``MAX_WORDS`` words, split at sentence ends where possible."""
    passage: list[str] = []
    for sentence in _SENTENCE_END.split(document):
        words = sentence.split()
        if passage and len(passage) + len(words) > MAX_WORDS:
            yield " ".join(passage)
            passage = []
        n_whole = max(0, len(words) - 1) // MAX_WORDS * MAX_WORDS
        for start in range(0, n_whole, MAX_WORDS):
            yield " ".join(words[start : start + MAX_WORDS])
        passage += words[n_whole:]
    if passage:
        yield " ".join(passage)


def _masked_word(passage: str) -> re.Match[str] | None:
    """The word to mask, chosen by the hash of the passage: not the first word, and a long one if there is any."""
    if passage.count(" ") + 1 < MIN_WORDS or GAP in passage:
        return None
    words = [word for word in _WORD.finditer(passage) if word.start() > 0]
    candidates = [word for word in words if len(word.group()) >= _LONG] or words
    if not candidates:
        return None
    digest = hashlib.sha256(passage.encode("utf-8")).digest()
    return candidates[int.from_bytes(digest[:8], "big") % len(candidates)]
