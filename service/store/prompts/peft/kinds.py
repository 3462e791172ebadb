"""PEFT's types of prompt-learning adapters, the kinds of prompt that they are, and the tensors that PEFT saves for them.

PEFT saves ``prompt_embeddings``, the output of its prompt encoder after any reparametrisation:

- PROMPT_TUNING, P_TUNING, CPT: the vectors in front of the text, ``[n_virtual, d_model]``. For CPT (context-aware prompt tuning)
  they are the embeddings of its tokens with the trained differences added.
- MULTITASK_PROMPT_TUNING: the vectors that all tasks share, and for each task two factors. The vectors of task t are
  ``prompt_embeddings * (prefix_task_cols[t] @ prefix_task_rows[t])``, element by element.
- PREFIX_TUNING, CARTRIDGE: keys and values, ``[n_virtual, n_layers * 2 * n_kv_heads * d_head]``. The last axis runs over layers,
  then key/value, then heads, then dimensions of a head, so the native form is a transpose.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

TENSOR = "prompt_embeddings"
TASK_COLUMNS = "prefix_task_cols"
TASK_ROWS = "prefix_task_rows"
MULTITASK = "MULTITASK_PROMPT_TUNING"

KINDS: Mapping[str, Literal["soft", "prefix"]] = {
    "PROMPT_TUNING": "soft",
    "P_TUNING": "soft",
    MULTITASK: "soft",
    "CPT": "soft",
    "PREFIX_TUNING": "prefix",
    "CARTRIDGE": "prefix",
}


def tensors_of(peft_type: str) -> frozenset[str]:
    """Names of the tensors of an adapter."""
    return frozenset({TENSOR, TASK_COLUMNS, TASK_ROWS} if peft_type == MULTITASK else {TENSOR})
