from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from transformers import (
    LogitsProcessor,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from service.engine.requests import Sampling
from service.engine.sampling import choice, filters
from service.engine.sampling.choice import token_logprobs
from service.engine.sampling.parameters import Draws
from service.engine.sampling.row_sampler import RowSampler
from service.errors import InvalidRequest

N_VOCAB = 97
CHI_SQUARE_BOUND = 96 + 3 * math.sqrt(2 * 96)
"""Mean and three standard deviations of chi-square with 96 degrees of freedom."""


def sampler(sampling: Sampling, *, input_ids: Sequence[int] = (3, 5), stream: int = 0) -> RowSampler:
    return RowSampler(sampling, vocab_size=N_VOCAB, input_ids=input_ids, stream=stream)


def choose(logits: torch.Tensor, samplers: Sequence[RowSampler]) -> list[int]:
    return choice.choose(logits, samplers).tolist()


def filtered_weights(scores: torch.Tensor, samplings: Sequence[Sampling]) -> torch.Tensor:
    rows = range(len(samplings))
    draws = Draws.of(samplings, rows=rows, uniforms=[0.5] * len(samplings), n_vocab=scores.shape[1])
    return filters.filtered_weights(scores, draws)


def random_logits(n_rows: int, *, seed: int = 0, scale: float = 2.0) -> torch.Tensor:
    return scale * torch.randn(n_rows, N_VOCAB, generator=torch.Generator().manual_seed(seed))


def generate(samplers: Sequence[RowSampler], logits: torch.Tensor) -> list[list[int]]:
    """Tokens of each row over the steps of ``logits`` ``[steps, rows, vocab]``."""
    steps = []
    for step in logits:
        tokens = choose(step, samplers)
        for row, token in zip(samplers, tokens, strict=True):
            row.observe(token)
        steps.append(tokens)
    return [list(tokens) for tokens in zip(*steps, strict=True)]


def chi_square(counts: torch.Tensor, expected: torch.Tensor) -> float:
    return float(((counts - expected) ** 2 / expected).sum())


MIXED = (
    Sampling(temperature=0),
    Sampling(temperature=0.7, seed=11),
    Sampling(top_k=5, seed=12),
    Sampling(top_p=0.8, seed=13),
    Sampling(min_p=0.05, temperature=1.5, seed=14),
    Sampling(temperature=0, repetition_penalty=1.7, presence_penalty=0.5),
    Sampling(top_k=20, top_p=0.9, min_p=0.01, repetition_penalty=1.2, frequency_penalty=0.4, seed=15),
    Sampling(temperature=0, logit_bias={7: 100.0}),
    Sampling(logit_bias={8: 2.0, 9: -100.0}, presence_penalty=1.1, seed=16),
)


def test_draws_follow_the_distribution() -> None:
    n_draws = 20_000
    logits = random_logits(1, scale=1.0)
    rows = [sampler(Sampling(temperature=0.8, seed=5), stream=stream) for stream in range(n_draws)]
    counts = torch.bincount(torch.tensor(choose(logits.expand(n_draws, -1), rows)), minlength=N_VOCAB)
    expected = n_draws * torch.softmax(logits[0].double() / 0.8, dim=0)
    assert chi_square(counts, expected) < CHI_SQUARE_BOUND


def test_successive_draws_of_one_row_follow_the_distribution() -> None:
    logits = random_logits(1, seed=3, scale=1.0)
    tokens = generate([sampler(Sampling(seed=6))], logits.expand(10_000, 1, -1))[0]
    expected = 10_000 * torch.softmax(logits[0].double(), dim=0)
    counts = torch.bincount(torch.tensor(tokens), minlength=N_VOCAB)
    assert chi_square(counts, expected) < CHI_SQUARE_BOUND


@pytest.mark.parametrize(
    ("sampling", "warpers"),
    [
        (Sampling(top_k=1), [TopKLogitsWarper(1)]),
        (Sampling(top_k=13), [TopKLogitsWarper(13)]),
        (Sampling(top_k=1000), []),
        (Sampling(top_p=0.001), [TopPLogitsWarper(0.001)]),
        (Sampling(top_p=0.6), [TopPLogitsWarper(0.6)]),
        (Sampling(top_p=0.999), [TopPLogitsWarper(0.999)]),
        (Sampling(min_p=0.1), [MinPLogitsWarper(0.1)]),
        (Sampling(min_p=1.0), [MinPLogitsWarper(1.0)]),
        (Sampling(temperature=3.0, top_p=0.6), [TemperatureLogitsWarper(3.0), TopPLogitsWarper(0.6)]),
        (
            Sampling(temperature=1.7, min_p=0.02, top_k=19, top_p=0.7),
            [TemperatureLogitsWarper(1.7), MinPLogitsWarper(0.02), TopKLogitsWarper(19), TopPLogitsWarper(0.7)],
        ),
    ],
)
def test_filters_agree_with_transformers(sampling: Sampling, warpers: list[LogitsProcessor]) -> None:
    logits = random_logits(7, seed=1)
    expected = logits.double()
    for warper in warpers:
        expected = warper(torch.zeros(7, 1, dtype=torch.int64), expected)
    weights = filtered_weights(logits, [sampling] * 7)
    torch.testing.assert_close(weights / weights.sum(-1, keepdim=True), expected.softmax(-1))


def test_filters_keep_lower_ids_of_equal_logits() -> None:
    logits = torch.zeros(1, N_VOCAB)
    logits[0, 50] = 1.0
    kept = filtered_weights(logits, [Sampling(top_k=4)])[0].nonzero().squeeze(1).tolist()
    assert kept == [0, 1, 2, 50]


def test_top_p_is_a_share_of_the_tokens_kept_by_top_k() -> None:
    probabilities = torch.full((1, N_VOCAB), 0.2 / (N_VOCAB - 3))
    probabilities[0, :3] = torch.tensor([0.4, 0.2, 0.2])
    # top_k keeps 0.4 and 0.2. Of these, 0.4 is two thirds and reaches 0.6; of the whole distribution it does not.
    weights = filtered_weights(probabilities.log(), [Sampling(top_k=2, top_p=0.6)])
    assert weights[0].nonzero().squeeze(1).tolist() == [0]


def test_a_tiny_temperature_is_greedy() -> None:
    logits = random_logits(1)
    weights = filtered_weights(logits, [Sampling(temperature=1e-300)])
    assert weights[0].nonzero().squeeze(1).tolist() == [int(logits.argmax())]


def test_draws_stay_inside_the_filters() -> None:
    logits = random_logits(300, seed=2, scale=0.5)
    chosen = choose(logits, [sampler(Sampling(top_k=3, seed=1), stream=stream) for stream in range(300)])
    ranks = [int((row > row[token]).sum()) for row, token in zip(logits, chosen, strict=True)]
    assert set(ranks) == {0, 1, 2}


def test_repetition_penalty_agrees_with_transformers() -> None:
    logits = random_logits(1, seed=4)
    row = sampler(Sampling(temperature=0, repetition_penalty=2.5), input_ids=[int(logits.argmax()), 20])
    row.observe(30)
    expected = RepetitionPenaltyLogitsProcessor(2.5)(torch.tensor([[int(logits.argmax()), 20, 30]]), logits.clone())
    assert choose(logits, [row]) == expected.argmax(-1).tolist() != logits.argmax(-1).tolist()
    # Over many logits, the chosen token covers all cases of the formula.
    many = random_logits(200, seed=5, scale=0.3)
    ids = list(range(0, 90, 2))
    rows = [sampler(Sampling(temperature=0, repetition_penalty=1.4), input_ids=ids) for _ in range(200)]
    expected = RepetitionPenaltyLogitsProcessor(1.4)(torch.tensor([ids] * 200), many.clone())
    assert choose(many, rows) == expected.argmax(-1).tolist()


def test_presence_and_frequency_count_generated_tokens_only() -> None:
    logits = torch.full((1, N_VOCAB), -10.0)
    logits[0, [10, 11, 12]] = torch.tensor([3.0, 2.2, 1.0])
    row = sampler(Sampling(temperature=0, presence_penalty=0.5, frequency_penalty=0.4), input_ids=[10, 10, 11])
    # 10: 3.0, then 2.1 (one), 11: 2.2, then 1.3 (one), 10: 1.7 (two), 11: 0.9 (two), 10: 1.3 (three) …
    expected = [10, 11, 10, 10, 11]
    scores = {10: 3.0, 11: 2.2}
    counts = {10: 0, 11: 0}
    for token in expected:
        penalised = {t: s - 0.4 * counts[t] - 0.5 * (counts[t] > 0) for t, s in scores.items()}
        assert max(penalised, key=lambda t: penalised[t]) == token
        assert choose(logits, [row]) == [token]
        row.observe(token)
        counts[token] += 1


def test_logit_bias_forces_and_forbids() -> None:
    logits = random_logits(2, seed=6)
    best = logits.argmax(-1).tolist()
    rows = [
        sampler(Sampling(temperature=0, logit_bias={42: 100.0})),
        sampler(Sampling(temperature=0, logit_bias={best[1]: -100.0})),
    ]
    without_best = logits[1].clone()
    without_best[best[1]] = -math.inf
    assert choose(logits, rows) == [42, int(without_best.argmax())]


def test_bias_comes_before_temperature() -> None:
    n_draws = 4000
    logits = torch.full((n_draws, N_VOCAB), -100.0)
    logits[:, :2] = 0.0
    rows = [sampler(Sampling(temperature=2.0, logit_bias={1: 2.0}, seed=9), stream=i) for i in range(n_draws)]
    share = sum(choose(logits, rows)) / n_draws
    assert share == pytest.approx(1 / (1 + math.exp(-1)), abs=0.03)


def test_rows_of_a_batch_draw_the_same_tokens_as_alone() -> None:
    logits = torch.stack([random_logits(len(MIXED), seed=step) for step in range(30)])
    together = generate([sampler(s, stream=i) for i, s in enumerate(MIXED)], logits)
    alone = [generate([sampler(s, stream=i)], logits[:, i : i + 1])[0] for i, s in enumerate(MIXED)]
    assert together == alone
    backwards = generate([sampler(s, stream=i) for i, s in reversed(list(enumerate(MIXED)))], logits.flip(1))
    assert backwards[::-1] == alone


def test_noise_of_the_size_of_rounding_does_not_change_draws() -> None:
    logits = torch.stack([random_logits(len(MIXED), seed=step) for step in range(30)])
    noise = 1e-6 * torch.randn(logits.shape, generator=torch.Generator().manual_seed(99))
    clean, noisy = (
        generate([sampler(s, stream=i) for i, s in enumerate(MIXED)], values) for values in (logits, logits + noise)
    )
    assert clean == noisy


def test_a_seed_reproduces_and_streams_differ() -> None:
    logits = random_logits(1, scale=0.5).expand(40, 1, -1)
    first, again = (generate([sampler(Sampling(seed=21))], logits) for _ in range(2))
    other_stream = generate([sampler(Sampling(seed=21), stream=1)], logits)
    other_seed = generate([sampler(Sampling(seed=22))], logits)
    unseeded, unseeded_again = (generate([sampler(Sampling())], logits) for _ in range(2))
    assert first == again
    assert len({tuple(rows[0]) for rows in (first, other_stream, other_seed, unseeded, unseeded_again)}) == 5


def test_seeds_of_any_size_are_accepted() -> None:
    for seed in (-1, 0, 2**63, 2**200):
        assert 0 <= sampler(Sampling(seed=seed)).uniform() < 1


def test_choosing_does_not_modify_logits() -> None:
    logits = random_logits(len(MIXED))
    before = logits.clone()
    rows = [sampler(s, stream=i) for i, s in enumerate(MIXED)]
    first = choose(logits, rows)
    assert torch.equal(logits, before)
    assert choose(logits, rows) == first


def test_equal_largest_logits_go_to_the_lowest_id() -> None:
    logits = torch.zeros(2, N_VOCAB)
    logits[:, [33, 44]] = 1.0
    assert choose(logits, [sampler(Sampling(temperature=0))] * 2) == [33, 33]
    assert choose(logits, [sampler(Sampling(temperature=0)), sampler(Sampling(seed=1))])[0] == 33


def test_half_precision_logits_are_accepted() -> None:
    logits = random_logits(len(MIXED)).bfloat16()
    rows = [sampler(s, stream=i) for i, s in enumerate(MIXED)]
    assert choose(logits, rows) == choose(logits.float(), rows)
    assert choose(logits[:1], rows[:1]) == [int(logits[0].float().argmax())]


@pytest.mark.parametrize("n_top", [0, 1, 5, 200])
def test_logprobs_are_of_the_raw_distribution(n_top: int) -> None:
    logits = random_logits(3, seed=8)
    chosen = torch.tensor([4, 50, 96])
    own, top_ids, top = token_logprobs(logits, chosen, n_top)
    expected = torch.log_softmax(logits.double(), dim=-1)
    torch.testing.assert_close(own.double(), expected[torch.arange(3), chosen], rtol=0, atol=1e-5)
    best = expected.sort(dim=-1, descending=True)
    assert top_ids.tolist() == best.indices[:, :n_top].tolist()
    torch.testing.assert_close(top.double(), best.values[:, :n_top], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=-0.1),
        Sampling(temperature=math.nan),
        Sampling(top_k=-1),
        Sampling(top_p=0.0),
        Sampling(top_p=1.1),
        Sampling(min_p=1.1),
        Sampling(repetition_penalty=0.0),
        Sampling(presence_penalty=math.inf),
        Sampling(logit_bias={N_VOCAB: 1.0}),
        Sampling(logit_bias={1: math.nan}),
    ],
)
def test_parameters_out_of_range_are_refused(sampling: Sampling) -> None:
    with pytest.raises(InvalidRequest, match=r"must be .*, got"):
        sampler(sampling)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_of_equal_logits_the_lowest_token_id_is_chosen(dtype: torch.dtype) -> None:
    logits = torch.zeros(2, N_VOCAB, dtype=dtype)
    logits[0, [7, 3, 20]] = 1.0
    assert choose(logits, [sampler(Sampling(temperature=0))] * 2) == [3, 0]
