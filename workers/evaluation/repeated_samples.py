"""Measures of several samples of one item: pass@k and majority@k.

Both are means over all subsets of k of the n samples, so they are unbiased for k independent samples.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from service.measures.arrays import Floats
from workers.evaluation.judgement import Judgement

PASS, MAJORITY = "pass", "majority"


def default_ks(n: int) -> list[int]:
    """The powers of two up to ``n``, and ``n``."""
    return sorted({2**i for i in range(n.bit_length())} | {n})


def names_of(ks: Sequence[int]) -> list[str]:
    """Names of the measures, in order: ``pass@1``, …, ``majority@1``, …."""
    return [f"{measure}@{k}" for measure in (PASS, MAJORITY) for k in ks]


def measures_of(samples: Sequence[Judgement], *, ks: Sequence[int]) -> dict[str, float]:
    """The measures of the samples of one item. ks: each at most the number of samples.

    Two samples vote alike if their answers are the same text. A sample without an answer does not vote.
    """
    n, n_correct = len(samples), sum(sample.is_correct for sample in samples)
    votes = Counter(sample.answer for sample in samples if sample.answer is not None)
    right = {sample.answer for sample in samples if sample.is_correct}
    correct = tuple(sorted(count for answer, count in votes.items() if answer in right))
    wrong = tuple(sorted(count for answer, count in votes.items() if answer not in right))
    values = [pass_at_k(n, n_correct, k) for k in ks]
    values += [majority_at_k(correct, wrong, n_blank=n - votes.total(), k=k) for k in ks]
    return dict(zip(names_of(ks), values, strict=True))


def pass_at_k(n: int, n_correct: int, k: int) -> float:
    """1 − C(n − c, k) / C(n, k), with c = ``n_correct``: the share of subsets with a correct sample (Chen et al. 2021,
    arXiv 2107.03374, equation 1).
    """
    return 1.0 - math.comb(n - n_correct, k) / math.comb(n, k)


@lru_cache(maxsize=65_536)
def majority_at_k(correct: tuple[int, ...], wrong: tuple[int, ...], *, n_blank: int, k: int) -> float:
    """Probability that the most frequent answer among ``k`` of the samples is correct (self-consistency, Wang et al. 2022,
    arXiv 2203.11171).

    Of t equally frequent answers each is chosen with probability 1/t. Without any answer the result is not correct.

    Args:
        correct, wrong: for each correct and each wrong answer, the number of samples that have it.
        n_blank: samples without an answer.
    """
    counts = [*correct, *wrong]
    n_won = 0.0
    for i, own in enumerate(correct):
        others = counts[:i] + counts[i + 1 :]
        for size in range(1, min(own, k) + 1):
            ways = _ways(others, n_blank=n_blank, largest=size, n_chosen=k - size)
            shares = 1.0 / np.arange(1, len(ways) + 1)
            n_won += math.comb(own, size) * float(ways @ shares)
    return n_won / math.comb(sum(counts) + n_blank, k)


def _ways(counts: Sequence[int], *, n_blank: int, largest: int, n_chosen: int) -> Floats:
    """For each t, the number of subsets of ``n_chosen`` samples with at most ``largest`` of each answer, and exactly
    ``largest`` of t answers.
    """
    # table[t, s]: the same for subsets of s samples, of the answers so far.
    table = np.zeros((n_chosen // largest + 1, n_chosen + 1))
    table[0] = [math.comb(n_blank, size) for size in range(n_chosen + 1)]
    for count in counts:
        grown = np.zeros_like(table)
        for size in range(min(count, largest, n_chosen) + 1):
            added = math.comb(count, size) * table[:, : n_chosen + 1 - size]
            if size < largest:
                grown[:, size:] += added
            else:
                grown[1:, size:] += added[:-1]
        table = grown
    found: Floats = table[:, n_chosen]
    return found
