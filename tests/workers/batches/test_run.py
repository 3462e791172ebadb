"""Whole batches on one worker, compared with plain transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from service.errors import Conflict, InvalidRequest, NotFound
from service.store.runs.ids import made_at
from tests.oracle.prompts import OraclePrompt
from tests.oracle.runs import oracle_generate
from tests.service.engine.contract import World
from tests.workers.batches.small_batch import RUN_ID, SmallBatch, lines_of
from tests.workers.evaluation.fake_run import Killed
from tests.workers.generate.small_generation import SPECIAL, wanted_texts
from tests.workers.harvest.field import FakeCoordinator, text_of, words_of
from workers.batches.helper import help_batch
from workers.batches.run import batch
from workers.running.interface import RunStopped

N = 11
GREEDY = [{"prompt": text_of(words_of(i)), "max_tokens": 6, "temperature": 0} for i in range(N)]


def test_responses_are_those_of_transformers(small: SmallBatch) -> None:
    under = [{**body, "model": "small:soft@1"} for body in GREEDY]
    chosen = [{**body, "prompt_ref": "prefix"} for body in GREEDY]
    run = small.batch([*GREEDY, *under, *chosen])
    metrics = batch(run)
    rows = small.rows("output")
    assert [row["custom_id"] for row in rows] == [f"r{i}" for i in range(3 * N)]
    wanted = [text for prompt in (None, "soft", "prefix") for text in wanted_texts(small, prompt=prompt)]  # type: ignore[arg-type]
    assert [row["response"]["body"]["choices"][0]["text"] for row in rows] == wanted
    first = rows[0]
    assert (first["error"], first["response"]["status_code"]) == (None, 200)
    assert first["id"] == f"batch_req_{first['response']['request_id']}"
    body = first["response"]["body"]
    assert (body["object"], body["model"]) == ("text_completion", "small")
    assert body["created"] == int(made_at(RUN_ID).timestamp())
    assert len({row["response"]["body"]["id"] for row in rows}) == 3 * N
    n_tokens = sum(row["response"]["body"]["usage"]["completion_tokens"] for row in rows)
    assert metrics == {
        "n_requests": 3 * N,
        "completed": 3 * N,
        "failed": 0,
        "n_input_tokens": 3 * sum(len(words_of(i)) for i in range(N)),
        "n_tokens": n_tokens,
        "n_shards": 9,
        "n_shards_by_helpers": 0,
    }
    assert run.steps[-1] == (3 * N, 3 * N)
    assert json.loads(run.outputs["counts.json"]) == {"total": 3 * N, "completed": 3 * N, "failed": 0}
    with pytest.raises(NotFound):
        small.rows("errors")


def test_requests_under_prompts_one_after_the_other(small: SmallBatch) -> None:
    chains = (["soft", "soft-short"], ["soft-short", "soft"], ["soft", "prefix"])
    batch(small.batch([{**GREEDY[3], "prompt_ref": {"concat": chain}} for chain in chains]))
    texts = [row["response"]["body"]["choices"][0]["text"] for row in small.rows("output")]
    world = small.world
    for chain, text in zip(chains, texts, strict=False):
        vectors = torch.cat([world.prompts[name].tensors["soft"] for name in chain])
        run = oracle_generate(world.model, world.parts, words_of(3), OraclePrompt("soft", {"soft": vectors}), 6)
        assert text == "".join(f" t{token}" for token in run.token_ids if token not in SPECIAL)
    [refused] = small.rows("errors")
    assert (refused["custom_id"], refused["response"]["status_code"]) == ("r2", 422)
    assert "one kind" in refused["response"]["body"]["error"]["message"]


def test_several_inputs_samples_and_log_probabilities(small: SmallBatch) -> None:
    body = {"prompt": ["t5 t6", "t7"], "n": 2, "max_tokens": 3, "seed": 4, "logprobs": 2, "echo": True}
    batch(small.batch([body, GREEDY[0]]))
    [found, _] = small.rows("output")
    choices = found["response"]["body"]["choices"]
    assert [choice["index"] for choice in choices] == [0, 1, 2, 3]
    assert all(choice["text"].startswith("t5 t6") for choice in choices[:2])
    assert choices[0]["logprobs"]["token_logprobs"][0] is None
    assert len(choices[2]["logprobs"]["top_logprobs"][1]) in (2, 3)


BAD: dict[str, tuple[dict[str, Any], int, str | None]] = {
    "unknown field": ({"prompt": "t5", "colour": "red"}, 422, "colour"),
    "no prompt": ({"max_tokens": 3}, 422, "prompt"),
    "too long": ({"prompt": "t5", "max_tokens": 500}, 422, "prompt"),
    "outside the vocabulary": ({"prompt": [5, 999]}, 422, "prompt"),
    "a biased token outside": ({"prompt": "t5", "logit_bias": {"999": 1}}, 422, "logit_bias"),
    "no such prompt": ({"prompt": "t5", "model": "small:absent"}, 404, "model"),
    "two prompts": ({"prompt": "t5", "model": "small:soft", "prompt_ref": "soft"}, 422, "prompt_ref"),
    "a stream": ({"prompt": "t5", "stream": True}, 422, "stream"),
    "embeds": ({"prompt_embeds": "AAAA"}, 422, "prompt_embeds"),
    "deep": ({"prompt": "t5", "metadata": {"a": "x" * 600}}, 422, "metadata.a"),
}


def test_requests_that_fail_leave_the_others_alone(small: SmallBatch) -> None:
    bodies = [body for body, _, _ in BAD.values()]
    metrics = batch(small.batch([*bodies, *GREEDY]))
    assert (metrics["completed"], metrics["failed"]) == (N, len(BAD))
    assert [row["response"]["body"]["choices"][0]["text"] for row in small.rows("output")] == wanted_texts(small)  # type: ignore[arg-type]
    errors = small.rows("errors")
    assert [row["custom_id"] for row in errors] == [f"r{i}" for i in range(len(BAD))]
    for row, (_, status, param) in zip(errors, BAD.values(), strict=True):
        assert row["response"]["status_code"] == status, row
        error = row["response"]["body"]["error"]
        assert error["param"] == param, row
        assert error["message"]


def test_a_chat_without_a_limit_gets_what_the_context_leaves(
    small: SmallBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = "{% for message in messages %}{{ message.content }} {% endfor %}"
    monkeypatch.setattr(small.world.hosted.tokenizer, "chat_template", template)
    message = {"role": "user", "content": "t5 t6 t7"}
    bodies = [
        {"messages": [message], "temperature": 0, "ignore_eos": True, **changes}
        for changes in ({}, {"max_tokens": 4}, {"model": "small:soft"})
    ]
    batch(small.batch(lines_of(bodies, url="/v1/chat/completions"), endpoint="/v1/chat/completions"))
    rows = [row["response"]["body"] for row in small.rows("output")]
    assert [row["usage"]["completion_tokens"] for row in rows] == [128 - 3, 4, 128 - 3 - 5]
    assert rows[0]["object"] == "chat.completion"
    assert rows[0]["choices"][0]["message"]["content"].startswith(rows[1]["choices"][0]["message"]["content"])


def test_only_errors_make_no_output(small: SmallBatch) -> None:
    metrics = batch(small.batch([{"prompt": "t5", "n": 0}]))
    assert metrics["failed"] == 1
    with pytest.raises(NotFound):
        small.rows("output")


@pytest.mark.parametrize("kill_at", [2, 12, 25])
def test_a_batch_continues_where_it_was_killed(small: SmallBatch, llama: World, tmp_path: Path, kill_at: int) -> None:
    run = small.batch(GREEDY)
    run.kill_at = kill_at
    with pytest.raises(Killed):
        batch(run)
    before = small.shard_hashes(RUN_ID)
    batch(run.again())
    assert before.items() <= small.shard_hashes(RUN_ID).items()
    whole = SmallBatch(llama, tmp_path / "whole")
    batch(whole.batch(GREEDY))
    assert small.rows("output") == whole.rows("output")
    assert len(small.rows("output")) == N


def test_a_stopped_batch_keeps_its_responses(small: SmallBatch) -> None:
    run = small.batch(GREEDY)
    run.stop_at = 25
    with pytest.raises(RunStopped):
        batch(run)
    n_kept = len(small.rows("output"))
    assert 0 < n_kept < N
    batch(run.again())
    assert len(small.rows("output")) == N


def test_helpers_answer_the_same(small: SmallBatch) -> None:
    run = small.batch(GREEDY)
    run.kill_at = 2
    with pytest.raises(Killed):
        batch(run)
    helper = run.again()
    helper.coordinator = FakeCoordinator(taken={"1"})
    help_batch(helper)
    assert sorted(small.shard_hashes(RUN_ID)) == ["results/00000.jsonl", "results/00002.jsonl"]
    metrics = batch(run.again())
    assert metrics["completed"] == N
    assert [row["response"]["body"]["choices"][0]["text"] for row in small.rows("output")] == wanted_texts(small)  # type: ignore[arg-type]


def test_helpers_are_requested_and_leave_without_a_plan(small: SmallBatch) -> None:
    coordinator = FakeCoordinator()
    run = small.batch(GREEDY, coordinator=coordinator)
    help_batch(run)
    assert small.shard_hashes(RUN_ID) == {}
    batch(run)
    assert coordinator.asked == [2, 1]
    assert coordinator.disbanded


def test_other_weights_do_not_continue_a_batch(small: SmallBatch) -> None:
    run = small.batch(GREEDY)
    run.kill_at = 8
    with pytest.raises(Killed):
        batch(run)
    key = f"runs/{RUN_ID}/plan.json"
    plan = small.artifacts.get_record(key, label="x")
    assert plan is not None
    small.artifacts.put_record(key, {**plan, "revision": "another"})
    with pytest.raises(Conflict, match="weights have changed"):
        batch(run.again())


def test_an_invalid_file_is_refused_whole(small: SmallBatch) -> None:
    run = small.batch(lines_of(GREEDY[:2]) + b"{\n[]\n")
    with pytest.raises(
        InvalidRequest, match=r"Line 3 of the file: Expected a JSON object, got something else\. 1 more"
    ):
        batch(run)
    faults = json.loads(run.outputs["faults.json"])["data"]
    assert [(fault["line"], fault["code"]) for fault in faults] == [(3, "invalid_json_line"), (4, "invalid_json_line")]
    assert small.shard_hashes(RUN_ID) == {}


def test_a_missing_file(small: SmallBatch) -> None:
    run = small.batch(GREEDY)
    small.files.delete(str(run.spec["input_file_id"]))
    with pytest.raises(NotFound, match="There is no file"):
        batch(run)
