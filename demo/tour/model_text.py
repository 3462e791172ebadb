"""Texts and tokens of the hosted model: token counts, token texts and the chat template, from the model's own files."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from promptatlas.types import ModelCard
from transformers import AutoTokenizer

from service.engine.model.files.converted import gguf_revision, open_converted
from service.engine.model.files.gguf_header import is_gguf
from service.engine.model.files.revisions import Revisions


class ModelText:
    """A tokenizer with its chat template."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    @classmethod
    def of(cls, path: Path, *, card: ModelCard, cache: Path) -> "ModelText":
        """The tokenizer of a folder or a GGUF file. cache: that of the service, where a GGUF file is converted already."""
        with _folder_of(path, card=card, cache=cache) as folder:
            return cls(AutoTokenizer.from_pretrained(folder))

    def count(self, text: str) -> int:
        """Number of tokens of a text."""
        return len(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def token(self, token_id: int) -> str:
        """The text of one token."""
        return str(self._tokenizer.decode([token_id], skip_special_tokens=False))

    def chat(self, message: str) -> str:
        """What the model reads for a user's message; the message itself if there is no chat template."""
        if self._tokenizer.chat_template is None:
            return message
        messages = [{"role": "user", "content": message}]
        return str(self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))


@contextlib.contextmanager
def _folder_of(path: Path, *, card: ModelCard, cache: Path) -> Iterator[Path]:
    if not is_gguf(str(path)):
        yield path
        return
    revision = gguf_revision(str(path), revisions=Revisions(cache / "revisions"))
    with open_converted(str(path), revision=revision, dtype=getattr(torch, card.dtype), cache=cache) as folder:
        yield folder
