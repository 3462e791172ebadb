"""The tokenizer: lossless, single digits, segment boundaries at its splits, headers for chats."""

import random
from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from demo import lexicon
from demo.corpus import draw_document, plain_text
from demo.tasks import examples
from demo.tokenizer import END_OF_TEXT, train_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(0, n_documents=2000)


@pytest.mark.parametrize("text", ["Mira went to the mill.", " two  spaces\n", "Zoë: 1.234 € \U0001f98a\t", "12+34=46"])
def test_round_trip(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_digits_are_single_tokens(tokenizer: PreTrainedTokenizerFast) -> None:
    assert [token for token in tokenizer.tokenize("37 + 1045 = 2") if token.isdigit()] == list("3710452")


def test_end_of_text_ends_and_pads(tokenizer: PreTrainedTokenizerFast) -> None:
    assert tokenizer.eos_token == tokenizer.pad_token == END_OF_TEXT
    assert tokenizer(END_OF_TEXT)["input_ids"] == [tokenizer.eos_token_id]


def test_every_word_of_the_world_is_one_token(tokenizer: PreTrainedTokenizerFast) -> None:
    for words in (lexicon.PEOPLE, lexicon.PLACES, lexicon.THINGS, lexicon.COLOURS, lexicon.JOBS, lexicon.FOODS):
        assert [word for word in words if len(tokenizer.tokenize(f" {word}")) > 1] == []


def test_segments_encode_as_the_joined_text(tokenizer: PreTrainedTokenizerFast) -> None:
    rng = random.Random(2)
    for document in (draw_document(rng) for _ in range(400)):
        apart = [token for segment in document for token in tokenizer(segment.text)["input_ids"]]
        assert apart == tokenizer(plain_text(document))["input_ids"]


def test_same_seed_gives_same_tokenizer() -> None:
    one, other = (train_tokenizer(7, n_documents=100).backend_tokenizer.to_str() for _ in range(2))
    assert one == other


@pytest.mark.parametrize(
    ("said", "header"),
    [
        ("Mira has the key. Who has the key?", "Answer the question in a word."),
        ("Mira has the key. Mira holds the ___.", "Fill the gap."),
        ("37 + 45 =", "Work it out step by step."),
        ("It was a quiet day.", "Go on with the story."),
    ],
)
def test_chat_gets_the_header_of_its_task(tokenizer: PreTrainedTokenizerFast, said: str, header: str) -> None:
    shown = tokenizer.apply_chat_template([{"role": "user", "content": said}], tokenize=False)
    assert shown == f"{header}\n{said}"


def test_system_message_is_the_header(tokenizer: PreTrainedTokenizerFast) -> None:
    chat = [{"role": "system", "content": "Give the result."}, {"role": "user", "content": "3 + 4 ="}]
    assert tokenizer.apply_chat_template(chat, tokenize=False) == "Give the result.\n3 + 4 ="


def test_committed_tokenizer_is_the_one_of_its_seed() -> None:
    committed = AutoTokenizer.from_pretrained(Path("demo/model"))
    text = examples("qa", split="test", n=1)[0].input
    assert committed(text)["input_ids"] == train_tokenizer(0)(text)["input_ids"]
    assert committed.chat_template == train_tokenizer(0).chat_template
