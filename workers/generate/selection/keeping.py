"""Which samples of one item are kept."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from promptatlas.types.generation import Keep

from workers.generate.selection.judgement import Judged

_Choose = Callable[[Sequence[Judged], int], Sequence[Judged]]


def kept(samples: Sequence[Judged], *, keep: Keep, dedupe: bool, seed: int) -> list[Judged]:
    """The kept samples of one item, in their order.

    Args:
        keep: ``majority`` keeps the samples with the most frequent answer, of equally frequent ones the earliest.
        dedupe: Keep one of several texts that are equal apart from whitespace.
        seed: Of the run, for ``random_correct``.
    """
    chosen = _CHOOSE[keep](samples, seed)
    if not dedupe:
        return list(chosen)
    first = {" ".join(sample.trace.text.split()): sample for sample in reversed(chosen)}
    return [sample for sample in chosen if first[" ".join(sample.trace.text.split())] is sample]


def _correct(samples: Sequence[Judged]) -> list[Judged]:
    return [sample for sample in samples if sample.is_correct]


def _shortest(samples: Sequence[Judged]) -> list[Judged]:
    return sorted(_correct(samples), key=lambda sample: sample.trace.n_tokens)[:1]


def _random(samples: Sequence[Judged], seed: int) -> list[Judged]:
    correct = _correct(samples)
    if not correct:
        return []
    digest = hashlib.blake2b(f"{seed}/{correct[0].trace.item}/kept".encode(), digest_size=8).digest()
    return [correct[int.from_bytes(digest, "big") % len(correct)]]


def _majority(samples: Sequence[Judged]) -> list[Judged]:
    answers = Counter(sample.answer for sample in samples if sample.answer is not None)
    # Of equal counts, the answer that was counted first.
    best = max(answers, key=lambda answer: answers[answer], default=None)
    return [] if best is None else [sample for sample in samples if sample.answer == best]


_CHOOSE: Mapping[Keep, _Choose] = {
    "all": lambda samples, seed: samples,
    "correct": lambda samples, seed: _correct(samples),
    "shortest_correct": lambda samples, seed: _shortest(samples),
    "random_correct": _random,
    "majority": lambda samples, seed: _majority(samples),
}
