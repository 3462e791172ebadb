"""Reports of the attention, against a softmax written out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from service.engine.attention.batch_metadata import BatchMetadata
from service.engine.attention.kernels import AttentionSpec
from service.engine.attention.kv_cache import CompiledPrompt, KVCache, KVShape, LayerShape
from service.engine.attention.metadata import PackedMetadata, SequenceGroup
from service.engine.attention.reads import AttentionReads
from service.engine.attention.spans import Span

N_HEADS, N_KV_HEADS, D = 6, 2, 5
SPEC = AttentionSpec(scale=0.7, window=3, softcap=2.0)

Reported = dict[tuple[str, int, int], Tensor]


def reads(layers: set[int], reported: Reported, done: list[tuple[str, int]]) -> AttentionReads:
    def sink(site: str, layer: int, offset: int, rows: Tensor) -> None:
        reported[site, layer, offset] = rows

    def on_done(site: str, layer: int) -> None:
        done.append((site, layer))

    return AttentionReads({"attn_probs": frozenset(layers)}, sink=sink, on_done=on_done)


def states(n: int, *, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    query = torch.randn(n, N_HEADS, D, generator=generator)
    key, value = (torch.randn(n, N_KV_HEADS, D, generator=generator) for _ in range(2))
    return query, key, value


def pattern_of(query: Tensor, keys: Tensor, *, first: int = 0) -> Tensor:
    """`[new, n_heads, n_keys]` of the last ``new`` tokens, entry by entry; keys before ``first`` are not attended to."""
    new, n_keys = len(query), len(keys)
    pattern = torch.zeros(new, N_HEADS, n_keys)
    for i in range(new):
        at = n_keys - new + i
        visible = [j for j in range(n_keys) if first <= j <= at and j > at - 3]
        for head in range(N_HEADS):
            scores = [float(query[i, head] @ keys[j, head // 3]) * 0.7 for j in visible]
            weights = [math.exp(2.0 * math.tanh(score / 2.0)) for score in scores]
            for j, weight in zip(visible, weights, strict=True):
                pattern[i, head, j] = weight / sum(weights)
    return pattern


def test_whole_sequences_report_each_row_and_then_the_layer() -> None:
    reported: Reported = {}
    done: list[tuple[str, int]] = []
    query, key, value = states(8, seed=1)
    metadata = PackedMetadata([SequenceGroup(0, 2, 4, None)], reads=reads({1}, reported, done))
    for layer in range(3):
        metadata.attend(layer, query, key, value, spec=SPEC)
    assert done == [("attn_probs", 1)]
    assert set(reported) == {("attn_probs", 1, 0), ("attn_probs", 1, 4)}
    for offset in (0, 4):
        expected = pattern_of(query[offset : offset + 4], key[offset : offset + 4])
        torch.testing.assert_close(reported["attn_probs", 1, offset], expected)


@pytest.mark.parametrize("is_visible", [True, False])
def test_virtual_positions_are_the_first_keys_even_in_a_layer_without_them(is_visible: bool) -> None:
    reported: Reported = {}
    query, key, value = states(4, seed=2)
    _, prompt_key, prompt_value = states(2, seed=3)
    pair = (prompt_key.transpose(0, 1), prompt_value.transpose(0, 1)) if is_visible else (None, None)
    prompt = CompiledPrompt(2, (pair[0],), (pair[1],))
    metadata = PackedMetadata([SequenceGroup(0, 1, 4, prompt)], reads=reads({0}, reported, []))
    metadata.attend(0, query, key, value, spec=SPEC)
    found = reported["attn_probs", 0, 0]
    assert found.shape == (4, N_HEADS, 6)
    torch.testing.assert_close(found, pattern_of(query, torch.cat([prompt_key, key]), first=0 if is_visible else 2))


def test_decoding_rows_and_chunks_report_their_own_keys() -> None:
    reported: Reported = {}
    done: list[tuple[str, int]] = []
    query, key, value = states(9, seed=4)
    cache = KVCache(KVShape((LayerShape(N_KV_HEADS, D, D, torch.device("cpu")),), torch.float32))
    cache.resize(2, 8, keep=())
    # Two inputs of four and two tokens; then one token of the first and a chunk of two of the second.
    BatchMetadata(cache, [Span(0, 0, 0, 4, None), Span(1, 4, 0, 2, None)], n_decode=0).attend(
        0, query[:6], key[:6], value[:6], spec=SPEC
    )
    spans = [Span(0, 0, 4, 5, None), Span(1, 1, 2, 4, None)]
    metadata = BatchMetadata(cache, spans, n_decode=1, reads=reads({0}, reported, done))
    metadata.attend(0, query[6:], key[6:], value[6:], spec=SPEC)
    assert done == [("attn_probs", 0)]
    first = torch.cat([key[:4], key[6:7]])
    second = torch.cat([key[4:6], key[7:9]])
    torch.testing.assert_close(reported["attn_probs", 0, 0], pattern_of(query[6:7], first))
    torch.testing.assert_close(reported["attn_probs", 0, 1], pattern_of(query[7:9], second))
