"""Columns of texts in a safetensors file.

The column ``name`` is encoded in three tensors: ``name`` has for each row the index of its text, −1 for none;
``name.bytes`` has the UTF-8 bytes of all texts, concatenated; ``name.offsets`` has the offset of each text, and the end of
the last one.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from promptatlas.results.tensors.tensor_file import Array, TensorFile


def text_column(file: TensorFile, name: str) -> Array:
    """An object array of str and None. Raises KeyError, ValueError or IndexError if the tensors are not as described."""
    joined = file.array(f"{name}.bytes").tobytes()
    offsets = file.array(f"{name}.offsets").tolist()
    texts = [joined[start:end].decode() for start, end in pairwise(offsets)]
    codes = file.array(name)
    if not ((codes >= -1) & (codes < len(texts))).all():
        raise ValueError(f"{name}: expected indices of {len(texts)} texts")
    column: Array = np.array([*texts, None], dtype=object)[codes]
    return column
