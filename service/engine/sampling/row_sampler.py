"""Row sampler: the parameters of one row, the tokens seen so far, and its random stream."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt

from service.engine.requests import Sampling
from service.errors import InvalidRequest


class TokenList:
    """Token ids of a row, to which one is appended at each step; the array is copied when it is full, not at each step."""

    def __init__(self, ids: Sequence[int]) -> None:
        self._ids = np.array(ids, dtype=np.int64)
        self._n = len(ids)

    @property
    def ids(self) -> npt.NDArray[np.int64]:
        return self._ids[: self._n]

    def append(self, token_id: int) -> None:
        if self._n == len(self._ids):
            self._ids = np.concatenate([self._ids, np.zeros(max(64, self._n), dtype=np.int64)])
        self._ids[self._n] = token_id
        self._n += 1


class RowSampler:
    """Sampling state of one row, on the host.

    Args:
        sampling: the row's parameters.
        vocab_size: width of the logits.
        input_ids: the row's text tokens before the first generated one; repetition_penalty covers them.
        stream: index of the random stream of the seed (the row's index in its request).
        min_tokens: number of tokens before which none of ``ending_ids`` is chosen.

    Attributes:
        seen: tokens of input and output, if there is a repetition penalty. generated: those of the output, if there is a
            presence or frequency penalty.

    Raises:
        InvalidRequest: a parameter is out of its range.
    """

    def __init__(
        self,
        sampling: Sampling,
        *,
        vocab_size: int,
        input_ids: Sequence[int],
        stream: int,
        min_tokens: int = 0,
        ending_ids: Collection[int] = (),
    ) -> None:
        _check(sampling, vocab_size=vocab_size)
        self.sampling = sampling
        self.is_greedy = sampling.temperature == 0
        self.n_observed = 0
        seed = sampling.seed if sampling.seed is not None else int.from_bytes(os.urandom(8), "little")
        self._stream_key = f"{seed}/{stream}/"
        self._min_tokens = min_tokens if ending_ids else 0
        self.ending_ids = np.array(sorted(ending_ids), dtype=np.int64)
        self.bias_ids = np.array(list(sampling.logit_bias), dtype=np.int64)
        self.bias_values = np.array(list(sampling.logit_bias.values()), dtype=np.float64)
        is_counted = sampling.presence_penalty or sampling.frequency_penalty
        self.seen = TokenList(sorted(set(input_ids))) if sampling.repetition_penalty != 1 else None
        self.generated = TokenList(()) if is_counted else None

    @property
    def is_plain(self) -> bool:
        """Whether only temperature and filters change the model's logits."""
        is_changed = self.seen is not None or self.generated is not None or self.sampling.logit_bias
        return not is_changed and self.may_end

    @property
    def may_end(self) -> bool:
        """Whether the next token may be one that ends the row."""
        return self.n_observed >= self._min_tokens

    def observe(self, token_id: int) -> None:
        """Count a generated token, and advance the random stream by one step."""
        self.n_observed += 1
        for tokens in (self.seen, self.generated):
            if tokens is not None:
                tokens.append(token_id)

    def uniform(self) -> float:
        """The number in [0, 1) of this step's draw; the same at every call until ``observe``."""
        # 48 bits, so that its product with a float64 sum stays below that sum in spite of rounding.
        digest = hashlib.blake2b(f"{self._stream_key}{self.n_observed}".encode(), digest_size=6).digest()
        return int.from_bytes(digest, "little") / 2**48


def _check(sampling: Sampling, *, vocab_size: int) -> None:
    _expect(0 <= sampling.temperature < math.inf, "temperature", "at least 0", sampling.temperature)
    _expect(sampling.top_k >= 0, "top_k", "at least 0", sampling.top_k)
    _expect(0 < sampling.top_p <= 1, "top_p", "above 0 and at most 1", sampling.top_p)
    _expect(0 <= sampling.min_p <= 1, "min_p", "from 0 to 1", sampling.min_p)
    _expect(0 < sampling.repetition_penalty < math.inf, "repetition_penalty", "above 0", sampling.repetition_penalty)
    for name in ("presence_penalty", "frequency_penalty"):
        _expect(math.isfinite(getattr(sampling, name)), name, "finite", getattr(sampling, name))
    for token_id, bias in sampling.logit_bias.items():
        _expect(0 <= token_id < vocab_size, "logit_bias", f"of token ids from 0 to {vocab_size - 1}", token_id)
        _expect(math.isfinite(bias), "logit_bias", "finite", bias)


def _expect(condition: bool, name: str, expected: str, value: float) -> None:
    if not condition:
        raise InvalidRequest(f"{name} must be {expected}, got {value}", loc=(name,))
