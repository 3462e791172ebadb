"""Packed training batches. Batch k depends only on (seed, k), so resuming needs only the step number."""

import functools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from demo.corpus import MIXTURE, Document, Mixture, draw_document, draw_lesson

# The first batches contain only lists. Without them, after two million tokens of stories and questions the model still
# guesses among the candidates of a scene. With them, the lookup appears abruptly before the 600th batch.
N_LESSONS: Final = 700

Encode = Callable[[str], Sequence[int]]


@dataclass(frozen=True)
class BatchShape:
    """Number of rows per batch and tokens per row."""

    n_rows: int
    n_tokens: int


@dataclass(frozen=True)
class Batch:
    """Documents packed into rows, without attention between documents.

    token_ids, positions, document_ids: int64 [n_rows, n_tokens]; positions restart with every document.
    weights: float32 [n_rows, n_tokens], the loss weight of predicting the token at this position; 0 at document starts.
    """

    token_ids: Tensor
    positions: Tensor
    document_ids: Tensor
    weights: Tensor

    def mask(self) -> Tensor:
        """The attention mask: earlier tokens of the same document. bool [n_rows, 1, n_tokens, n_tokens]."""
        n_tokens = self.token_ids.shape[1]
        same = self.document_ids[:, :, None] == self.document_ids[:, None, :]
        return (same & torch.ones(n_tokens, n_tokens, dtype=torch.bool).tril())[:, None]


def encode_document(document: Document, *, encode: Encode, end_id: int) -> list[tuple[int, float]]:
    """(token id, loss weight) pairs of a document and its end-of-text token, which has the weight of the last segment."""
    pairs = [(token, segment.weight) for segment in document for token in encode(segment.text)]
    return [*pairs, (end_id, document[-1].weight)]


def draw_batch(
    index: int,
    *,
    seed: int,
    shape: BatchShape,
    encode: Encode,
    end_id: int,
    mixture: Mixture = MIXTURE,
    n_lessons: int = N_LESSONS,
) -> Batch:
    """Batch number `index`: documents are packed first-fit until several consecutive ones do not fit.

    mixture: of the documents. n_lessons: number of the first batches, which contain only lists.
    """
    draw = draw_lesson if index < n_lessons else functools.partial(draw_document, mixture=mixture)
    rng = random.Random(f"batch-{seed}-{index}")
    rows: list[list[list[tuple[int, float]]]] = [[] for _ in range(shape.n_rows)]
    room = [shape.n_tokens] * shape.n_rows
    n_misfits = 0
    while n_misfits < 8:
        document = encode_document(draw(rng), encode=encode, end_id=end_id)
        row = next((row for row in range(shape.n_rows) if room[row] >= len(document)), None)
        if row is None:
            n_misfits += 1
            continue
        rows[row].append(document)
        room[row] -= len(document)
    return _pack(rows, shape=shape, end_id=end_id)


def _pack(rows: list[list[list[tuple[int, float]]]], *, shape: BatchShape, end_id: int) -> Batch:
    size = (shape.n_rows, shape.n_tokens)
    token_ids, positions = torch.full(size, end_id), torch.zeros(size, dtype=torch.int64)
    document_ids, weights = torch.full(size, -1), torch.zeros(size)
    for row, documents in enumerate(rows):
        start = 0
        for number, document in enumerate(documents):
            here = slice(start, start + len(document))
            token_ids[row, here] = torch.tensor([token for token, _ in document])
            positions[row, here] = torch.arange(len(document))
            document_ids[row, here] = number
            weights[row, here] = torch.tensor([0.0, *(weight for _, weight in document[1:])])
            start = here.stop
    return Batch(token_ids, positions, document_ids, weights)
