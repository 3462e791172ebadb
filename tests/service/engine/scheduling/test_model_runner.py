"""One forward over scheduled tokens: the blocks that run, the logits, and the contents of the capture buffers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from service.engine.activations.capture_buffer import CaptureBuffer
from service.engine.activations.interventions import RowEdits, resolve_edits
from service.engine.activations.logit_lens import TokenRanker
from service.engine.attention.batch_metadata import BatchMetadata
from service.engine.attention.kv_cache import KVCache
from service.engine.attention.metadata import PackedMetadata, SequenceGroup
from service.engine.attention.spans import Span
from service.engine.model.hosted_model import HostedModel
from service.engine.requests import Capture, CaptureSpec, Intervention
from service.engine.scheduling.model_runner import LogitRows, ModelRunner, gather_requests
from service.engine.scheduling.scheduler import ScheduledTokens
from service.engine.scheduling.sequence import RequestState, SequenceState
from tests.oracle.models import N_LAYERS
from tests.service.engine.contract import TEXTS, TOLERANCE, World, assert_near

IDS = TEXTS[2]


def row_of(model: HostedModel, spec: CaptureSpec, interventions: Sequence[Intervention] = ()) -> SequenceState:
    state = RequestState(Capture(request_id="r", inputs=(IDS,), capture=spec), (None,))
    row = SequenceState(state, 0, list(IDS), len(IDS), max_tokens=0)
    taps = model.catalogue.resolve(spec.sites, spec.layers)
    row.capture = CaptureBuffer(spec, taps, positions=range(len(IDS)))
    edits = resolve_edits(interventions, model.catalogue)
    row.edits = RowEdits(edits, n_input=len(IDS), n_total=len(IDS)) if edits else None
    return row


def states_of(model: HostedModel, row: SequenceState) -> dict[str, Tensor]:
    assert row.capture is not None
    return {tap.label: row.capture.finish(tap, model.catalogue, n_keys=len(IDS)) for tap in row.capture.taps}


def run(
    model: HostedModel, row: SequenceState, *, cached: bool, logits_at: Sequence[int] = (), stops: bool = False
) -> Tensor:
    runner = ModelRunner(model, ranker=TokenRanker(model, detokenizer=None))
    scheduled = [ScheduledTokens(row, 0, len(IDS))]
    logits = LogitRows(logits_at)
    gather = runner.gather(gather_requests(scheduled), logits=logits, stops=stops)
    metadata: BatchMetadata | PackedMetadata
    if cached:
        cache = KVCache(model.kv_shape)
        cache.resize(1, len(IDS), keep=())
        metadata = BatchMetadata(cache, [Span(0, 0, 0, len(IDS), None)], n_decode=0, reads=gather.attention_reads)
    else:
        metadata = PackedMetadata([SequenceGroup(0, 1, len(IDS), None)], reads=gather.attention_reads)
    with torch.inference_mode():
        return runner.run(metadata, scheduled, gather=gather, logits=logits)


@contextmanager
def blocks_run(model: HostedModel) -> Iterator[list[int]]:
    ran: list[int] = []
    handles = [
        block.register_forward_pre_hook(lambda *_, layer=layer: ran.append(layer))
        for layer, block in enumerate(model.architecture.blocks)
    ]
    yield ran
    for handle in handles:
        handle.remove()


def test_states_and_logits_are_the_oracles_with_and_without_a_cache(llama: World) -> None:
    model = llama.hosted
    expected = llama.text_states("none", IDS)
    spec = CaptureSpec(sites=("embed", "resid_pre", "mlp_out", "attn_probs", "final_norm"))
    for cached in (False, True):
        row = row_of(model, spec)
        logits = run(model, row, cached=cached, logits_at=(2, len(IDS) - 1))
        assert_near(logits, expected["logits"][[2, len(IDS) - 1]], what="logits")
        for label, states in states_of(model, row).items():
            assert_near(states, expected[label], what=label)


def test_a_gather_that_stops_ends_the_forward_after_its_last_tap(llama: World) -> None:
    model = llama.hosted
    for sites, layers, n_blocks in (
        (("resid_pre",), (1,), 2),
        (("attn_probs",), (1,), 2),
        (("attn_probs", "resid_post"), (0, 1), 2),
        (("final_norm",), (), N_LAYERS),
    ):
        row = row_of(model, CaptureSpec(sites=sites, layers=layers))
        with blocks_run(model) as ran:
            logits = run(model, row, cached=False, stops=True)
        # The hook on a block runs before the block itself, so that block 1 is among those of resid_pre.1.
        assert ran == list(range(n_blocks))
        assert logits.shape == (0, model.catalogue.vocab_size)
        for label, states in states_of(model, row).items():
            assert_near(states, llama.text_states("none", IDS)[label], what=label)


def test_edits_change_what_is_read_and_the_logits(llama: World) -> None:
    model = llama.hosted
    vector = torch.randn(model.d_model, generator=torch.Generator().manual_seed(7))
    edit = Intervention(site="resid_post", layers=(1,), positions=(-1,), value=vector)
    plain = row_of(model, CaptureSpec(sites=("resid_post",), layers=(1,)))
    edited = row_of(model, CaptureSpec(sites=("resid_post",), layers=(1,)), [edit])
    last = (len(IDS) - 1,)
    logits = [run(model, row, cached=False, logits_at=last) for row in (plain, edited)]
    before, after = (states_of(model, row)["resid_post.1"] for row in (plain, edited))
    assert torch.equal(before[:-1], after[:-1])
    torch.testing.assert_close(after[-1] - before[-1], vector, rtol=0, atol=TOLERANCE)
    assert float((logits[0] - logits[1]).abs().max()) > 100 * TOLERANCE
