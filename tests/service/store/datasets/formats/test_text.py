"""text: one document a line, as it is or as cloze items."""

from __future__ import annotations

import re

import pytest

from service.errors import InvalidRequest
from service.store.datasets.formats import open_format
from service.store.datasets.formats.cloze import GAP, MAX_WORDS, items_of, passages_of
from service.store.datasets.formats.text import ClozeText, PlainText
from tests.service.store.datasets.formats.format_files import fields_of, records_of, refusal

STORY = (
    'The old keeper climbed the stairs every evening. "Nobody sees the lamp from here," she said. '
    "Ships went by in the dark, and all of them found their way. In spring the birds came back."
)


def test_a_line_is_a_document() -> None:
    records = records_of(PlainText(), " One. \n\n\tTwo.\r\n")
    assert [(record.fields, record.location.name) for record in records] == [
        ({"text": "One."}, "Line 1"),
        ({"text": "Two."}, "Line 3"),
    ]


def test_a_passage_loses_nothing_but_blanks_between_words() -> None:
    long = " ".join(f"w{index}" for index in range(3 * MAX_WORDS + 5))
    for text in (STORY * 5, long, f"{STORY} {long} {STORY}"):
        passages = list(passages_of(text))
        assert " ".join(passages).split() == text.split()
        assert max(len(passage.split()) for passage in passages) <= MAX_WORDS


def test_the_masked_word_fills_the_gap() -> None:
    found = list(items_of(STORY * 4))
    assert len(found) >= 4
    for item in found:
        masked, answer = str(item["masked"]), str(item["answer"])
        assert masked.count(GAP) == 1
        assert masked == f"{item['before']}{GAP}{item['after']}"
        assert re.fullmatch(r"\w{4,}", answer)
        assert not masked.startswith(GAP)
        assert masked.replace(GAP, answer) in " ".join((STORY * 4).split())


def test_the_text_alone_decides_which_word_is_masked() -> None:
    assert list(items_of(STORY)) == list(items_of(STORY))
    words = {
        str(item["answer"])
        for index in range(40)
        for item in items_of(f"In the year {index} there was a large harbour")
    }
    assert words == {"year", "there", "large", "harbour"}


@pytest.mark.parametrize(
    "text", ["", "Too short for it.", "1 2 3 4 5 6 7 8 9", f"There is a {GAP} in this line already."]
)
def test_what_cannot_be_masked_gives_nothing(text: str) -> None:
    assert list(items_of(text)) == []


def test_items_of_one_document_are_one_group() -> None:
    records = records_of(ClozeText(), f"{STORY * 4}\n{STORY}")
    assert len({record.group for record in records}) == 2
    assert {record.location.name for record in records} == {"Line 1", "Line 2"}


def test_a_file_with_nothing_to_mask_is_refused() -> None:
    assert "No cloze items" in refusal(ClozeText(), "short\nlines\n", InvalidRequest).detail


def test_only_text_is_cut_into_cloze_items() -> None:
    assert fields_of(open_format("text", cloze=True), STORY)[0].keys() == {"masked", "answer", "before", "after"}
    with pytest.raises(InvalidRequest, match="need the format text; got gsm8k"):
        open_format("gsm8k", cloze=True)
