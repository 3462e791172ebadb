"""Models that are divided over two ranks, against the whole models of plain transformers.

Every architecture that transformers has a plan for.
"""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from service.engine.attention.metadata import RecordingMetadata
from service.engine.model.hosted_model import HostedModel
from service.engine.parallel.ranks import Ranks
from service.engine.requests import (
    Capture,
    CaptureSpec,
    Generate,
    Intervention,
    KeysValues,
    Lens,
    Limits,
    Nearest,
)
from service.errors import UnsupportedModel
from tests.oracle.gguf_files import reference_tokenizer, small_llama, write_gguf
from tests.oracle.models import ARCHITECTURES, N_LAYERS
from tests.oracle.runs import oracle_generate, oracle_states
from tests.service.engine.contract import (
    KINDS,
    SITES,
    TEXTS,
    TOLERANCE,
    Case,
    World,
    assert_near,
    completion,
    labels,
    serve,
)
from tests.service.engine.model.test_lens_sites import PROJECTIONS

NAMES = [name for name in ARCHITECTURES if name != "gpt2"]
WHOLE_HEADS = ("phi3", "olmo2")
"""Their plans collect queries, keys and values, so that each rank has all heads."""

FEW_NAMES = ("llama", "gemma3", "gpt_neox", "phi3")
"""Divided heads, sliding windows and norms of heads; one projection for query, key and value; whole heads."""

IDS = TEXTS[3]
N_TOKENS = 3
FEW_KINDS = ("none", "soft", "prefix")


@pytest.fixture(params=FEW_NAMES)
def world(request: pytest.FixtureRequest, divided: Callable[[str], World]) -> World:
    return divided(request.param)


@pytest.mark.parametrize("name", NAMES)
def test_completions_and_states_are_the_oracles(name: str, divided: Callable[[str], World]) -> None:
    world, kinds = divided(name), KINDS if name in FEW_NAMES else FEW_KINDS
    cases = [Case(kind, IDS) for kind in kinds]
    spec = CaptureSpec(sites=(*SITES, world.inner_site), layers="all", include_virtual=True)
    requests: list[Generate | Capture] = [completion(case, n_tokens=N_TOKENS) for case in cases]
    requests += [
        Capture(request_id=f"states {case.kind}", inputs=(IDS,), capture=spec, prompt=case.choice) for case in cases
    ]
    # Few rows and tokens at a time: slots move, and inputs are read in chunks. Short captures run apart from the batch.
    answers = serve(world.engine(Limits(max_rows=2, max_step_tokens=len(IDS))), requests)
    for case in cases:
        expected, answer = world.expected(case, N_TOKENS), answers[case.request_id]
        assert answer.token_ids() == expected.token_ids, case
        wanted = [float(row[i]) for row, i in zip(expected.logprobs, expected.token_ids, strict=True)]
        assert [one.logprob for one in answer.logprobs()] == pytest.approx(wanted, abs=TOLERANCE), case
        states = world.states(case.kind, IDS)
        found = answers[f"states {case.kind}"].result.tensors
        for label in labels(world, (*SITES, world.inner_site)):
            n_text = len(IDS)
            assert_near(found[label][-n_text:], states[label][-n_text:], what=f"{case.kind} {label}")
            n_front = len(states[label]) - n_text
            if case.kind in ("soft", "soft-short"):
                assert_near(found[label][:n_front], states[label][:n_front], what=f"virtual {case.kind} {label}")


def test_trajectories_read_the_cache_of_both_ranks(world: World) -> None:
    spec = CaptureSpec(sites=("resid_post", "attn_probs", world.inner_site), layers=(1,))
    case = Case("soft", IDS)
    answer = serve(world.engine(), [completion(case, capture=spec, n_tokens=N_TOKENS)])[case.request_id]
    run = world.expected(case, N_TOKENS)
    read = [*IDS, *run.token_ids[: run.n_read]][: len(answer.result.tensors["token_ids"])]
    states = world.text_states("soft", read)
    for label in ("resid_post.1", "attn_probs.1", world.inner_site):
        # The pattern has a column for the last token, too, which is not read.
        found = answer.result.tensors[label][..., : states[label].shape[-1]]
        assert_near(found, states[label], what=label)


def test_card_and_keys_are_those_of_the_whole_model(world: World) -> None:
    config = world.model.config
    n_kv_heads = getattr(config, "num_key_value_heads", config.num_attention_heads)
    assert world.hosted.card.n_kv_heads == n_kv_heads
    assert world.hosted.n_head_ranks == (1 if config.model_type in WHOLE_HEADS else 2)
    assert world.hosted.kv_shape.layers[0].n_kv_heads * world.hosted.n_head_ranks == n_kv_heads
    request = KeysValues(request_id="k", prompt=Case("prefix", IDS).choice)  # type: ignore[arg-type]
    found = world.engine().keys_values(request).tensors
    for layer, (keys, values) in enumerate(world.prompts["prefix"].tensors["prefix"]):
        assert torch.equal(found[f"keys.{layer}"][0], keys)
        assert torch.equal(found[f"values.{layer}"][0], values)


def test_the_lens_and_the_nearest_tokens_are_the_oracles(world: World) -> None:
    last = N_LAYERS - 1
    specs = {
        "lens": CaptureSpec(sites=("resid_post",), layers=(last,), reduce=Lens(k=3)),
        "near": CaptureSpec(sites=("embed",), reduce=Nearest(k=1)),
    }
    requests = [Capture(request_id=name, inputs=(IDS,), capture=spec) for name, spec in specs.items()]
    answers = serve(world.engine(), requests)
    found = answers["lens"].result.tensors
    expected = world.states("none", IDS)["logits"].log_softmax(-1).topk(3)
    assert torch.equal(found[f"resid_post.{last}.lens_ids"], expected.indices)
    assert_near(found[f"resid_post.{last}.lens_logprobs"], expected.values, what="log-probabilities")
    assert answers["near"].result.tensors["embed.nearest_ids"][:, 0].tolist() == list(IDS)


def test_inputs_of_divided_layers_are_whole(world: World) -> None:
    attention, mlp = PROJECTIONS.get(world.model.config.model_type, ("self_attn.o_proj", "mlp.down_proj"))
    sites = ("blocks.1.attn.hook_z", "blocks.1.mlp.hook_post")
    request = Capture(request_id="c", inputs=(IDS,), capture=CaptureSpec(sites=sites))
    found = serve(world.engine(), [request])["c"].result.tensors
    plain = read_inputs(world, [f"{world.parts.blocks}.1.{path}" for path in (attention, mlp)])
    assert found[sites[0]].shape[1] == world.model.config.num_attention_heads
    for site, expected in zip(sites, plain, strict=True):
        assert_near(found[site].flatten(1), expected, what=site)


def test_a_change_reaches_both_ranks(world: World) -> None:
    width = world.hosted.d_model
    vector = torch.randn(width, generator=torch.Generator().manual_seed(5))
    change = Intervention(site="resid_post", layers=(1,), op="add", value=vector)
    case = Case("soft", IDS)
    edits = {1: lambda hidden, _: hidden + vector}
    spec = CaptureSpec(sites=("resid_post", "final_norm"), layers=(2,))
    changed = Capture(request_id="s", inputs=(IDS,), capture=spec, prompt=case.choice, interventions=(change,))
    generated = Generate(
        request_id="g",
        inputs=(IDS,),
        max_tokens=N_TOKENS,
        sampling=completion(case).sampling,
        prompt=case.choice,
        interventions=(change,),
    )
    answers = serve(world.engine(), [changed, generated, completion(case, n_tokens=N_TOKENS)])
    prompt = world.prompts["soft"]
    states = oracle_states(world.model, world.parts, IDS, prompt, edits)
    for label in ("resid_post.2", "final_norm"):
        assert_near(answers["s"].result.tensors[label], states[label][-len(IDS) :], what=label)
    expected = oracle_generate(world.model, world.parts, IDS, prompt, N_TOKENS, edits)
    assert answers["g"].token_ids() == expected.token_ids
    assert answers[case.request_id].token_ids() == world.expected(case, N_TOKENS).token_ids


def test_a_change_of_a_divided_tensor_is_that_of_the_whole_one(world: World) -> None:
    path = world.inner_site
    (width,) = world.hosted.catalogue.widths[path]
    vector = torch.randn(width, generator=torch.Generator().manual_seed(6))
    change = Intervention(site=path, op="add", value=vector)
    spec = CaptureSpec(sites=(path, "logits"))
    request = Capture(request_id="c", inputs=(IDS,), capture=spec, interventions=(change,))
    found = serve(world.engine(), [request])["c"].result.tensors
    with added(world.model.get_submodule(path), vector):
        expected = oracle_states(world.model, world.parts, IDS, None)
    assert_near(found["logits"], expected["logits"], what="logits")
    assert_near(found[path], expected[path], what=path)


def test_dropped_prompts_are_dropped_in_both_ranks(divided: Callable[[str], World]) -> None:
    world = divided("llama")
    engine = world.engine(Limits(prompt_cache_bytes=0))
    for kind in ("soft", "prefix", "deep-local") * 2:
        case = Case(kind, IDS)
        answer = serve(engine, [completion(case, n_tokens=1)])[case.request_id]
        assert answer.token_ids() == world.expected(case, N_TOKENS).token_ids[:1]
    gc.collect()
    serve(engine, [completion(Case("none", IDS), n_tokens=1)])
    assert engine.model.leader is not None
    assert len(engine.model.leader._numbers) < 3


def test_a_gguf_file_is_divided_without_a_cache(tmp_path: Path, ranks: Ranks) -> None:
    """Both ranks read the converted model, whose folder is removed afterwards."""
    tokenizer = reference_tokenizer()
    plain = small_llama(n_vocab=tokenizer.get_vocab_size())
    path = tmp_path / "model.gguf"
    write_gguf(path, model=plain, tokenizer=tokenizer)
    hosted = HostedModel.load("small", str(path), dtype="float32", ranks=ranks)
    metadata = RecordingMetadata(len(IDS))
    ids = torch.tensor(IDS)
    with torch.inference_mode():
        found = hosted.forward(metadata, ids=ids, positions=metadata.positions, logits_at=metadata.positions)
        expected = plain(ids[None]).logits[0]
    assert_near(found, expected, what="logits")


def test_the_same_tensors_are_parts_in_bfloat16(divided: Callable[[str], World], ranks: Ranks) -> None:
    world = divided("gemma3")
    model = HostedModel.load("small", str(world.folder), dtype="bfloat16", ranks=ranks)
    assert model.card.dtype == "bfloat16"
    assert dict(model.catalogue.widths) == dict(world.hosted.catalogue.widths)
    assert parts_of(model) == parts_of(world.hosted)


def test_an_architecture_without_a_plan_is_refused(world_of: Callable[[str], World], ranks: Ranks) -> None:
    with pytest.raises(UnsupportedModel, match=r"transformers has none for gpt2\. PROMPTATLAS_DEVICE_MAP places"):
        HostedModel.load("m", str(world_of("gpt2").folder), ranks=ranks)


def test_a_rank_that_does_not_answer_is_lost(divided: Callable[[str], World], ranks: Ranks, losses: list[str]) -> None:
    # The last test of the file: afterwards the ranks no longer compute the same.
    assert losses == []
    dist.distributed_c10d._set_pg_timeout(timedelta(seconds=1))
    engine = divided("llama").engine()
    engine.submit(completion(Case("none", IDS), n_tokens=1))
    os.kill(ranks.pids[0], signal.SIGSTOP)
    try:
        engine.step()
    finally:
        os.kill(ranks.pids[0], signal.SIGCONT)
    assert losses
    assert losses[0].startswith("a call failed in rank 0: RuntimeError")


def parts_of(model: HostedModel) -> set[tuple[str, bool]]:
    """Paths of the modules whose output (False) or input (True) is a part."""
    assert model.division is not None
    paths = {module: path for path, module in model.module.named_modules()}
    return {(paths[module], of_input) for module, of_input in model.division.parts}


def read_inputs(world: World, paths: list[str]) -> list[Tensor]:
    """The first argument of modules in one run of plain transformers, `[tokens, width]`."""
    found: dict[str, Tensor] = {}

    def note(path: str) -> Any:
        return lambda _, args: found.__setitem__(path, args[0][0].detach().flatten(1).clone())

    handles = [world.model.get_submodule(path).register_forward_pre_hook(note(path)) for path in paths]
    with torch.no_grad():
        world.model(torch.tensor([IDS]))
    for handle in handles:
        handle.remove()
    return [found[path] for path in paths]


@contextmanager
def added(module: Any, vector: Tensor) -> Iterator[None]:
    """While entered, a vector is added to the output of a module of plain transformers."""
    handle = module.register_forward_hook(lambda _, __, output: output + vector)
    try:
        yield
    finally:
        handle.remove()
