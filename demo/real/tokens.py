"""The number of tokens of a text."""

from pathlib import Path

from tokenizers import Tokenizer

from demo.real.squad import Counter


def token_counter(tokenizer: Path) -> Counter:
    """A counter for a ``tokenizer.json``. Special tokens are not added."""
    loaded = Tokenizer.from_file(str(tokenizer))
    return lambda text: len(loaded.encode(text, add_special_tokens=False).ids)
