from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from tests.oracle.gguf_files import reference_tokenizer, small_llama, write_gguf

Write = Callable[..., Path]


@pytest.fixture(scope="session")
def reference() -> Tokenizer:
    """The tokenizer of the written files."""
    return reference_tokenizer()


@pytest.fixture(scope="session")
def original(reference: Tokenizer) -> Any:
    """The model of the written files."""
    return small_llama(n_vocab=reference.get_vocab_size())


@pytest.fixture
def write(tmp_path: Path, original: Any, reference: Tokenizer) -> Write:
    """Writes a GGUF file; arguments as of ``write_gguf``."""

    def write(name: str = "model.gguf", **options: Any) -> Path:
        path = tmp_path / name
        write_gguf(path, **{"model": original, "tokenizer": reference, **options})
        return path

    return write
