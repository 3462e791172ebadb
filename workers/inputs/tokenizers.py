"""Identity of tokenizers."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def tokenizer_sha256(tokenizer: Any) -> str:
    """Hash of a fast tokenizer: its vocabulary, merges, special tokens and rules.

    Settings of padding and truncation, which change with its use, are left out.
    """
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    kept = {name: value for name, value in content.items() if name not in ("padding", "truncation")}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()
