"""Sentences of a text."""

import re
from collections.abc import Iterator
from typing import Final

Span = tuple[int, int]

# Abbreviations that a capital letter or a digit often follows. A wrong boundary would only cut a context elsewhere.
_ABBREVIATED: Final = re.compile(r"(?:\b(?:[A-Z]|Dr|Mr|Mrs|Ms|St|Jr|Sr|No|vs|c|ca|approx|e\.g|i\.e)\.)$")
_END: Final = re.compile(r"[.!?][\"'”’)\]]*\s+(?=[\"'“‘(\[]?[A-Z0-9])")


def sentence_spans(text: str) -> list[Span]:
    """Start and end of each sentence. The spans cover the text, except white space between sentences."""
    return list(_spans(text))


def _spans(text: str) -> Iterator[Span]:
    start = len(text) - len(text.lstrip())
    for match in _END.finditer(text):
        end = match.start() + len(match.group().rstrip())
        if _ABBREVIATED.search(text, start, end):
            continue
        yield start, end
        start = match.end()
    end = len(text.rstrip())
    if start < end:
        yield start, end
