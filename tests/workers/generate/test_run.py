"""Whole runs on one worker, compared with plain transformers and with single requests to the engine."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from promptatlas.types import TraceFacts

from service.engine.inputs import PromptChoice
from service.engine.requests import Delta, Generate, Sampling
from service.errors import Conflict, InvalidRequest, NotFound
from service.store.datasets.traces.top_tokens import NO_TOKEN
from tests.oracle.runs import oracle_generate
from tests.service.engine.contract import World
from tests.workers.evaluation.fake_run import Killed
from tests.workers.generate.small_generation import SPECIAL, SmallGeneration, ids_in, wanted_texts
from tests.workers.harvest.field import FakeCoordinator, text_of, words_of
from workers.generate import run as work
from workers.generate.helper import help_generate
from workers.generate.run import generate
from workers.generate.samples.requests import seed_of
from workers.running.interface import RunStopped

N = 11
SAMPLED: dict[str, Any] = {"temperature": 1.0, "n": 3, "seed": 5}


def of_engine(small: SmallGeneration, ids: tuple[int, ...], *, prompt: str | None = None, **fields: Any) -> Delta:
    """The output of one request alone."""
    engine = small.world.engine()
    choice = None if prompt is None else PromptChoice(parts=((prompt, 1.0),))
    engine.submit(Generate(request_id="alone", inputs=(ids,), prompt=choice, **fields))
    events = []
    while engine.has_work:
        events += engine.step()
    return next(event for event in events if isinstance(event, Delta))


def test_greedy_samples_are_those_of_transformers(small: SmallGeneration) -> None:
    metrics = generate(small.run())
    wanted = wanted_texts(small)
    assert small.fields("target") == wanted
    assert small.fields("input") == [text_of(words_of(i)) for i in range(N)]
    assert small.fields("finish_reason") == ["length" if len(ids_in(text)) == 6 else "stop" for text in wanted]
    n_tokens = [min(6, len(ids_in(text)) + 1) for text in wanted]
    assert small.fields("n_tokens") == n_tokens
    assert [record.split for record in small.records()] == ["test" if i % 3 == 2 else "train" for i in range(N)]
    assert small.fields("item") == list(range(N))
    assert small.fields("answer") == [text.strip() for text in wanted]
    assert small.fields("answers") == [[f"t{2 + i}"] for i in range(N)]
    assert set(small.fields("revision")) == {small.world.hosted.card.revision}
    assert set(small.fields("prompt")) == {None}
    wanted_metrics = {"made": N, "kept": N, "yield": 1, "n_tokens": sum(n_tokens), "n_items": N, "n_shards": 4}
    assert {name: metrics[name] for name in wanted_metrics} == wanted_metrics
    assert metrics["n_input_tokens"] == sum(len(words_of(i)) for i in range(N))


def test_samples_under_several_prompts(small: SmallGeneration) -> None:
    run = small.run(prompt_refs=["soft@1", None, "prefix@1"])
    metrics = generate(run)
    prompts, targets = small.fields("prompt"), small.fields("target")
    n_empty = 0
    for prompt, label in (("soft", "soft@1"), (None, None), ("prefix", "prefix@1")):
        own = [target for target, ref in zip(targets, prompts, strict=True) if ref == label]
        wanted = wanted_texts(small, prompt=prompt)
        # A text that ends at once is no target.
        assert own == [text for text in wanted if text]
        n_empty += wanted.count("")
    assert n_empty > 0
    assert (metrics["made"], metrics["n_empty"], metrics["kept"]) == (3 * N, n_empty, 3 * N - n_empty)
    assert f"{n_empty} samples are left out because they are empty." in run.warnings()
    assert small.datasets.get("made").traces is not None
    facts = TraceFacts.model_validate(small.datasets.get("made").to_json()["traces"])
    assert (facts.model, facts.prompts, facts.n_samples) == ("small", ["soft@1", None, "prefix@1"], 3 * N)
    assert facts.revision == small.world.hosted.card.revision
    assert facts.dataset_sha256 == small.datasets.get("words").sha256
    assert facts.tokenizer_sha256 is not None
    assert len(facts.tokenizer_sha256) == 64


def test_a_sample_is_what_its_seed_gives_alone(small: SmallGeneration) -> None:
    generate(small.run(**SAMPLED, prompt_refs=[None, "soft"]))
    records = [record.fields for record in small.records()]
    assert {fields["sample"] for fields in records} == {0, 1, 2}
    assert len({fields["seed"] for fields in records}) == len(records) > 5 * N
    assert len({fields["target"] for fields in records}) > N
    for fields in records[::5]:
        prompt = None if fields["prompt"] is None else "soft"
        sampling = Sampling(temperature=1.0, seed=fields["seed"])
        alone = of_engine(small, words_of(fields["item"]), prompt=prompt, sampling=sampling, max_tokens=6)
        assert alone.text == fields["target"]
        assert len(alone.token_ids) == fields["n_tokens"]


def test_seeds_depend_on_every_number() -> None:
    seeds = {
        seed_of(seed, item=item, prompt=prompt, sample=sample)
        for seed in range(3)
        for item in range(4)
        for prompt in range(3)
        for sample in range(4)
    }
    assert len(seeds) == 3 * 4 * 3 * 4
    assert max(seeds) < 2**48


def test_stop_strings_and_other_sampling_fields_reach_the_engine(small: SmallGeneration) -> None:
    fields: dict[str, Any] = {"temperature": 1.5, "top_p": 0.8, "top_k": 9, "min_p": 0.01, "repetition_penalty": 1.3}
    generate(small.run(**fields, presence_penalty=0.5, frequency_penalty=0.25, seed=3, stop=["t7"], min_tokens=2))
    for record in (record.fields for record in small.records()):
        sampling = Sampling(**fields, presence_penalty=0.5, frequency_penalty=0.25, seed=record["seed"])
        ids = words_of(record["item"])
        alone = of_engine(small, ids, sampling=sampling, max_tokens=6, stop=("t7",), min_tokens=2)
        assert alone.text == record["target"]


@pytest.mark.parametrize("k", [0, 5, 64])
def test_top_tokens_are_those_of_transformers(small: SmallGeneration, k: int) -> None:
    generate(small.run(logprobs=k, n_items=5))
    reader = small.top_tokens()
    assert (reader.n_rows, reader.k) == (5, k)
    world = small.world
    for i in range(5):
        wanted = oracle_generate(world.model, world.parts, words_of(i), None, 6)
        row = reader.row(i)
        assert row.ids.tolist() == wanted.token_ids
        assert {row.ids.dtype.name, row.top_ids.dtype.name} == {"int32"}
        assert {row.logprobs.dtype.name, row.top_logprobs.dtype.name} == {"float32"}
        values, ids = wanted.logprobs.topk(k)
        assert row.top_ids.shape == (len(wanted.token_ids), k)
        np.testing.assert_allclose(row.top_logprobs, values.numpy(), atol=1e-4)
        own = wanted.logprobs[torch.arange(len(wanted.token_ids)), torch.tensor(wanted.token_ids)]
        np.testing.assert_allclose(row.logprobs, own.numpy(), atol=1e-4)
        at = wanted.logprobs.gather(1, torch.tensor(row.top_ids).long())
        np.testing.assert_allclose(row.top_logprobs, at.numpy(), atol=1e-4)
        assert NO_TOKEN not in row.top_ids
        if k >= 5:
            assert row.top_ids[:, 0].tolist() == ids[:, 0].tolist()


def test_top_tokens_are_those_of_the_kept_records(small: SmallGeneration) -> None:
    run = small.run(**SAMPLED, logprobs=2, keep="shortest_correct", answer={"find": "pattern", "pattern": "(t)"})
    lines = [{"input": text_of(words_of(i)), "target": "t"} for i in range(N)]
    small.datasets.delete("words")
    small.upload("words", lines)
    metrics = generate(run)
    reader = small.top_tokens()
    assert reader.n_rows == metrics["kept"] == N
    assert [len(row) for row in reader.rows()] == small.fields("n_tokens")
    for index, target in enumerate(small.fields("target")):
        row = reader.row(index)
        assert tuple(token for token in row.ids.tolist() if token not in SPECIAL) == ids_in(target)
    with pytest.raises(IndexError, match="from 0 to 10, got 11"):
        reader.row(N)
    # Its own and the most probable tokens agree.
    for row in reader.rows():
        for token, own, ids, tops in zip(row.ids, row.logprobs, row.top_ids, row.top_logprobs, strict=True):
            if token in ids:
                assert math.isclose(own, tops[ids.tolist().index(token)], abs_tol=1e-5)
            else:
                assert own <= tops.min()


def test_a_dataset_without_top_tokens_has_no_reader(small: SmallGeneration) -> None:
    generate(small.run())
    with pytest.raises(InvalidRequest, match="'made' has none"):
        small.top_tokens()
    with pytest.raises(NotFound):
        small.top_tokens("absent")


def test_contexts_are_read_in_front_of_each_item(small: SmallGeneration) -> None:
    generate(small.run(context="t8 t9 "))
    alone = [of_engine(small, (8, 9, *words_of(i)), max_tokens=6, sampling=Sampling(temperature=0)) for i in range(N)]
    assert small.fields("target") == [delta.text for delta in alone]
    assert small.fields("input") == [text_of(words_of(i)) for i in range(N)]


def test_shots_never_contain_the_item_itself(small: SmallGeneration) -> None:
    spec: dict[str, Any] = {"context": {"shots": 2, "split": "train", "separator": " "}, "name": "shots"}
    generate(small.run(**spec))
    drawn = [example.index for example in small.datasets.examples("words", split="train", n=3, seed=0)]
    for record in small.records("shots"):
        item = record.fields["item"]
        shots = [i for i in drawn if i != item][:2]
        ids = [token for i in shots for token in (*words_of(i), 2 + i)]
        alone = of_engine(small, (*ids, *words_of(item)), max_tokens=6, sampling=Sampling(temperature=0))
        assert record.fields["target"] == alone.text


def test_what_leaves_no_room_is_left_out_or_shortened(small: SmallGeneration) -> None:
    small.upload("long", [{"input": text_of([5] * n), "target": "t1"} for n in (3, 128, 126, 200)])
    run = small.run(dataset="long", stop=None)
    metrics = generate(run)
    assert (metrics["made"], metrics["n_left_out"]) == (2, 2)
    assert small.fields("item") == [0, 2]
    assert small.fields("n_tokens")[1] <= 2
    assert "2 samples were not generated" in run.warnings()[0]
    small.upload("longer", [{"input": text_of([5] * 200), "target": "t1"}] * 2)
    with pytest.raises(InvalidRequest, match="none of the 2 items leaves room for a token"):
        generate(small.run(run_id="run-2", dataset="longer", name="none"))
    assert not small.has_dataset("none")


def targets_as_generated(small: SmallGeneration, name: str, *, right: set[int]) -> None:
    """A dataset in which the greedy texts of the items ``right`` are correct."""
    texts = wanted_texts(small)
    rows = [
        {"input": text_of(words_of(i)), "target": texts[i].strip() if i in right else "t95 t95 t95"} for i in range(N)
    ]
    small.upload(name, rows)


def test_only_correct_samples_are_kept(small: SmallGeneration) -> None:
    targets_as_generated(small, "checked", right={0, 4, 7})
    metrics = generate(small.run(dataset="checked", keep="correct"))
    assert small.fields("item") == [0, 4, 7]
    assert small.fields("correct") == [True] * 3
    assert (metrics["made"], metrics["kept"], metrics["correct"]) == (N, 3, 3)
    assert metrics["yield"] == 3 / N
    generate(small.run(run_id="run-2", dataset="checked", keep="all", name="everything"))
    assert small.fields("correct", "everything") == [i in {0, 4, 7} for i in range(N)]


def test_nothing_kept_is_an_error_that_stores_nothing(small: SmallGeneration) -> None:
    targets_as_generated(small, "checked", right=set())
    with pytest.raises(InvalidRequest, match=r"Nothing is kept of 11 samples: keep is 'correct', 0 are correct"):
        generate(small.run(dataset="checked", keep="correct"))
    assert not small.has_dataset()


def test_a_rule_that_finds_nothing_ends_the_run_early(small: SmallGeneration, monkeypatch: Any) -> None:
    monkeypatch.setattr(work, "N_ITEMS_BEFORE_ANSWERS", 5)
    run = small.run(answer={"find": "after", "after": "####"})
    with pytest.raises(InvalidRequest, match=r"an answer \(after '####'\) in some of the samples of the first 6 items"):
        generate(run)
    # Two of four shards were generated.
    assert len(small.outputs().all()) == 2
    assert not small.has_dataset()


def test_a_rule_that_finds_nothing_in_few_items_ends_the_run(small: SmallGeneration) -> None:
    with pytest.raises(InvalidRequest, match="of the first 11 items; none of 11 has one"):
        generate(small.run(answer={"find": "after", "after": "####"}))
    assert not small.has_dataset()


def test_a_late_answer_is_enough(small: SmallGeneration, monkeypatch: Any) -> None:
    monkeypatch.setattr(work, "N_ITEMS_BEFORE_ANSWERS", 5)
    last = ids_in(wanted_texts(small)[4])[-1]
    metrics = generate(small.run(answer={"find": "pattern", "pattern": f"t({last})"}))
    assert metrics["made"] == N


@pytest.mark.parametrize("kill_at", [2, 9, 16, 22])
def test_a_run_continues_where_it_was_killed(
    small: SmallGeneration, llama: World, tmp_path: Path, kill_at: int
) -> None:
    spec: dict[str, Any] = {**SAMPLED, "logprobs": 3}
    run = small.run(**spec)
    run.kill_at = kill_at
    with pytest.raises(Killed):
        generate(run)
    before = small.shard_hashes()
    assert not small.has_dataset()
    generate(run.again())
    whole = SmallGeneration(llama, tmp_path / "whole")
    generate(whole.run(**spec))
    after = small.shard_hashes()
    assert before.items() <= after.items()
    assert after == whole.shard_hashes()
    assert len(after) == 8
    assert small.datasets.get("made").sha256 == whole.datasets.get("made").sha256
    for one, other in zip(small.top_tokens().rows(), whole.top_tokens().rows(), strict=True):
        np.testing.assert_array_equal(one.top_logprobs, other.top_logprobs)


def test_kills_come_before_between_and_within_shards(small: SmallGeneration) -> None:
    """So that the test above tests what it says."""
    counts = []
    for kill_at in (2, 9, 16, 22):
        run = small.run(run_id=f"run-{kill_at}", **SAMPLED, logprobs=3, reuse=False)
        run.kill_at = kill_at
        with pytest.raises(Killed):
            generate(run)
        counts.append(len(small.outputs(run.run_id).all()))
    assert counts[0] == 0 < counts[1] < counts[3] < 8


def test_a_stop_passes_through(small: SmallGeneration) -> None:
    run = small.run()
    run.stop_at = 12
    with pytest.raises(RunStopped):
        generate(run)
    assert 0 < len(small.outputs().all()) < 4
    assert not small.has_dataset()


def test_a_finished_run_can_be_repeated(small: SmallGeneration) -> None:
    """As after a worker that died between the dataset and the end of the run."""
    run = small.run()
    generate(run)
    assert generate(run.again())["kept"] == N


def test_a_name_that_was_taken_meanwhile_is_a_conflict(small: SmallGeneration) -> None:
    small.upload("made", [{"input": "t5", "target": "t6"}])
    with pytest.raises(Conflict, match="'made' exists with other records"):
        generate(small.run())
    assert len(small.outputs().all()) == 4


def test_helpers_generate_the_same_shards(small: SmallGeneration, llama: World, tmp_path: Path) -> None:
    run = small.run(**SAMPLED)
    run.kill_at = 2
    with pytest.raises(Killed):
        generate(run)
    helper = small.run(**SAMPLED, coordinator=FakeCoordinator(taken={"1"}))
    help_generate(helper)
    assert sorted(small.shard_hashes()) == [f"traces/0000{i}.jsonl" for i in (0, 2, 3)]
    assert helper.outputs == {}
    assert not small.has_dataset()
    metrics = generate(run.again())
    assert metrics["made"] == 3 * N
    whole = SmallGeneration(llama, tmp_path / "whole")
    generate(whole.run(**SAMPLED))
    assert small.shard_hashes() == whole.shard_hashes()


def test_a_helper_without_a_plan_does_nothing(small: SmallGeneration) -> None:
    help_generate(small.run())
    assert small.shard_hashes() == {}


def test_helpers_are_requested_for_free_shards(small: SmallGeneration) -> None:
    coordinator = FakeCoordinator()
    generate(small.run(coordinator=coordinator))
    assert coordinator.asked == [3, 2, 1]
    assert coordinator.disbanded


def test_a_second_run_takes_the_samples_of_the_first(small: SmallGeneration, monkeypatch: Any) -> None:
    targets_as_generated(small, "checked", right={0, 4, 7})
    generate(small.run(dataset="checked", logprobs=2, n_items=10))
    whole = small.shard_hashes()
    monkeypatch.setattr("workers.generate.samples.hosted.HostedSource.generate", None)
    spec: dict[str, Any] = {"dataset": "checked", "logprobs": 2, "n_items": 10, "keep": "correct", "name": "second"}
    second = small.run(run_id="run-2", **spec)
    metrics = generate(second)
    assert small.shard_hashes("run-2") == whole
    assert (metrics["kept"], metrics["made"]) == (3, 10)
    assert second.tallied == {}
    others: tuple[dict[str, Any], ...] = (
        {"reuse": False},
        {"seed": 1},
        {"max_tokens": 5},
        {"n_items": 9},
        {"context": "t4"},
    )
    for i, changes in enumerate(others):
        with pytest.raises(TypeError):
            generate(small.run(run_id=f"run-{3 + i}", **{**spec, **changes, "name": "third"}))


def test_a_damaged_earlier_shard_is_generated_again(small: SmallGeneration) -> None:
    generate(small.run())
    first = small.shard_hashes()
    for path in (Path(small.home) / "runs/run-1/outputs").glob("traces*00001*/_*"):
        path.write_bytes(b"\n")
    generate(small.run(run_id="run-2", name="second"))
    assert small.shard_hashes("run-2") == first


def test_a_dataset_that_has_changed_ends_a_resumed_run(small: SmallGeneration) -> None:
    run = small.run()
    run.kill_at = 12
    with pytest.raises(Killed):
        generate(run)
    small.datasets.delete("words")
    small.upload("words", [{"input": "t5", "target": " t6"}] * 11)
    with pytest.raises(Conflict, match="The dataset has changed since this run started"):
        generate(run.again())


def test_progress_is_in_items_and_speed_is_reported(small: SmallGeneration) -> None:
    run = small.run()
    generate(run)
    assert list(dict.fromkeys(run.steps)) == [(0, N), (3, N), (6, N), (9, N), (N, N)]
    assert sorted(step for step, _ in run.points) == [3, 6, 9, N]
    for values in run.points.values():
        assert set(values) == {"items_per_s", "tokens_per_s"}
        assert values["tokens_per_s"] > values["items_per_s"] > 0
    assert run.tallied == {"generate_tokens": sum(small.fields("n_tokens"))}
