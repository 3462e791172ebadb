"""Several sampled answers of each example, and their measures."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from promptatlas.types.tuning import AnswerSampling

from service.engine.requests import Sampling
from workers.evaluation.generation import GenerationInput
from workers.evaluation.judgement import AnswerJudge
from workers.evaluation.repeated_samples import default_ks, measures_of, names_of
from workers.inputs.examples import EvalExample


@dataclass(frozen=True, kw_only=True)
class SampledAnswers:
    """The samples of one example. measures: ``pass@k`` and ``majority@k``, between 0 and 1."""

    texts: tuple[str, ...]
    measures: Mapping[str, float]


class AnswerSampler:
    """Requests and measures the samples of a spec.

    Args:
        seed: each sample has its own seed, which follows from this one, the split, the example and the sample's number. All
            prompts have the same seeds.
    """

    def __init__(self, sampling: AnswerSampling, *, seed: int) -> None:
        self.n = sampling.n
        self._ks = ks_of(sampling)
        self._seed = seed
        self._sampling = Sampling(temperature=sampling.temperature, top_p=sampling.top_p, top_k=sampling.top_k)
        self._judge = AnswerJudge(rule=sampling.answer, metric=sampling.metric or "exact_match")

    def inputs(self, given: GenerationInput, *, example: EvalExample) -> list[GenerationInput]:
        """The request of each sample. given: the request of the greedy answer."""
        seeds = (self._seed_of(example, sample=i) for i in range(self.n))
        return [replace(given, sampling=replace(self._sampling, seed=seed)) for seed in seeds]

    def measured(self, texts: Sequence[str], *, example: EvalExample) -> SampledAnswers:
        """The measures of the samples of an example."""
        judged = [self._judge.judge(text, answers=example.answers) for text in texts]
        return SampledAnswers(texts=tuple(texts), measures=measures_of(judged, ks=self._ks))

    def _seed_of(self, example: EvalExample, *, sample: int) -> int:
        text = f"{self._seed}/{example.split}/{example.index}/{sample}"
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest(), "big")


def ks_of(sampling: AnswerSampling) -> list[int]:
    """The numbers of samples that the measures are of."""
    return default_ks(sampling.n) if sampling.k is None else list(sampling.k)


def measures_of_sampling(sampling: AnswerSampling | None) -> list[str]:
    """Names of the measures of a spec; none without sampling."""
    return [] if sampling is None else names_of(ks_of(sampling))
