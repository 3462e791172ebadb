"""Token counts, token texts and the chat template of a hosted model."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tokenizers import Tokenizer

from demo.real.tokens import token_counter
from demo.tour.model_text import ModelText

MODEL = Path(__file__).parents[3] / "demo" / "model"
TEXT = "Mira went to the mill."


@pytest.fixture
def text() -> ModelText:
    card: Any = SimpleNamespace(dtype="float32")
    return ModelText.of(MODEL, card=card, cache=Path("unused"))


def test_tokens_are_those_of_the_model(text: ModelText) -> None:
    ids = Tokenizer.from_file(str(MODEL / "tokenizer.json")).encode(TEXT, add_special_tokens=False).ids
    assert text.count(TEXT) == token_counter(MODEL / "tokenizer.json")(TEXT) == len(ids) > 3
    assert "".join(text.token(i) for i in ids) == TEXT


def chat_of(template: str | None) -> ModelText:
    def apply(messages: list[dict[str, str]], *, tokenize: bool, add_generation_prompt: bool) -> str:
        assert not tokenize
        return f"<{messages[0]['role']}>{messages[0]['content']}" + ("<bot>" if add_generation_prompt else "")

    return ModelText(SimpleNamespace(chat_template=template, apply_chat_template=apply))


def test_a_message_is_inside_the_chat_template() -> None:
    assert chat_of("a template").chat("Go.\n\n{input}") == "<user>Go.\n\n{input}<bot>"


def test_without_a_chat_template_the_message_is_the_text() -> None:
    assert chat_of(None).chat("Go.\n\n{input}") == "Go.\n\n{input}"
