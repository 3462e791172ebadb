"""Articles of WikiText-2: plain text without unknown words, and last words of sentences."""

from __future__ import annotations

from pathlib import Path

import pytest

from demo.real.folder import BadData
from demo.real.wikitext import FILE, plain, wikitext, wikitext_cloze
from tests.demo.real.real_files import WIKI, write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, FILE.path, WIKI)
    return tmp_path


@pytest.mark.parametrize(
    ("corpus", "text"),
    [
        ("a 1 @,@ 900 @-@ year @.@ old one , he said .", "a 1,900-year.old one, he said."),
        ('It was " quick " ( so he said ) .', 'It was "quick" (so he said).'),
        ("the city 's walls ; a $ 5 coin", "the city's walls; a $5 coin"),
    ],
)
def test_marks_of_the_corpus_are_removed(corpus: str, text: str) -> None:
    assert plain(corpus) == text


def test_paragraphs_without_headings_and_unknown_words(folder: Path) -> None:
    found = wikitext(folder)
    by_title: dict[str, list[str]] = {}
    for record in found.records:
        by_title.setdefault(record["title"], []).append(record["text"])
    assert sorted(by_title["First article"]) == [
        "Kites are birds, and they eat mice-like animals in the fields. It has (maybe) 0.5 wings near the end.",
        "This sentence of the section is long enough too.",
    ]
    assert found.n_left_out == 1
    assert found.template is None


def test_articles_are_in_one_split_in_both_datasets(folder: Path) -> None:
    for seed in range(5):
        pairs = {
            (record["title"], record["split"])
            for one in (wikitext(folder, seed=seed), wikitext_cloze(folder, seed=seed))
            for record in one.records
        }
        assert len(pairs) == 3
        assert {split for _, split in pairs} == {"train", "validation", "test"}


def test_the_last_word_is_the_target(folder: Path) -> None:
    found = wikitext_cloze(folder)
    texts = {found.text(record) for record in found.records}
    assert texts == {
        ("Kites are birds, and they eat mice-like animals in the", " fields"),
        ("It has (maybe) 0.5 wings near the", " end"),
        ("This sentence of the section is long enough", " too"),
        ("Rivers that are long end in very deep", " lakes"),
        ("Towns that are old have very high", " walls"),
    }
    assert found.n_left_out == 3  # an unknown word, too few words, an equal start


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Text first.\n", "a line = Title = before the first text, got 'Text first.'"),
        (" = One =\n Some words are here now .\n", "articles for three splits, got expected at least 3"),
        ("", "articles for three splits"),
    ],
)
def test_another_layout_is_refused(tmp_path: Path, text: str, message: str) -> None:
    write(tmp_path, FILE.path, text)
    with pytest.raises(BadData, match=message):
        wikitext_cloze(tmp_path)
