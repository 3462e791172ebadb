"""Runs with a teacher: a server that answers, refuses, fails, dies or sends nonsense."""

from __future__ import annotations

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler
from typing import Any

import httpx
import numpy as np
import pytest

from service.errors import AtlasError, InvalidRequest, NotFound, Unavailable
from service.settings import Settings
from service.settings.values import TeacherEndpoint, TeacherKey
from service.store.datasets.traces.top_tokens import NO_TOKEN
from tests.workers.evaluation.fake_run import Killed
from tests.workers.generate.fake_teacher import FakeTeacher, running_teacher, send
from tests.workers.generate.small_generation import SmallGeneration
from tests.workers.harvest.field import FakeCoordinator, SharedFakeRun, text_of, words_of
from workers.generate.helper import help_generate
from workers.generate.run import generate
from workers.generate.samples.requests import seed_of
from workers.generate.teachers import client as teacher_client
from workers.running.interface import RunStopped

N = 11
KEY = "sk-a-secret-key"


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teacher_client, "_FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(teacher_client, "_LONGEST_WAIT_S", 0.02)


def run_of(
    small: SmallGeneration, teacher: FakeTeacher, *, key: str | None = KEY, patience_s: float = 60, **spec: Any
) -> SharedFakeRun:
    known: dict[str, Any] = {"model": "big", "teacher": "outside", "temperature": 1.0, **spec}
    run = small.run(**known)
    run.models = {}
    run.settings = Settings(
        teachers=(TeacherEndpoint(name="outside", base_url=teacher.url),),
        teacher_keys=() if key is None else (TeacherKey(name="outside", key=key),),
        teacher_requests=3,
        teacher_patience_s=patience_s,
    )
    return run


def test_each_sample_is_one_request(small: SmallGeneration) -> None:
    with running_teacher() as teacher:
        coordinator = FakeCoordinator()
        run = run_of(small, teacher, n=2, max_tokens=9, stop=["x"], coordinator=coordinator)
        metrics = generate(run)
    assert len(teacher.requests) == 2 * N
    assert set(teacher.paths) == {"/v1/completions"}
    assert set(teacher.keys) == {f"Bearer {KEY}"}
    assert 1 <= teacher.most_at_once <= 3
    assert coordinator.asked == []
    asked = {(body["prompt"], body["seed"]) for body in teacher.requests}
    assert asked == {
        (text_of(words_of(i)), seed_of(0, item=i, prompt=0, sample=sample)) for i in range(N) for sample in range(2)
    }
    for body in teacher.requests:
        known = {"model": "big", "max_tokens": 9, "temperature": 1.0, "top_p": 1.0, "stop": ["x"]}
        assert body == {**known, "prompt": body["prompt"], "seed": body["seed"]}
    for record in small.records():
        fields = record.fields
        seed = seed_of(0, item=fields["item"], prompt=0, sample=fields["sample"])
        assert fields["target"] == f" of {len(words_of(fields['item']))} words; {seed % 7}"
        assert (fields["seed"], fields["revision"], fields["n_tokens"]) == (seed, "fp-7", 4)
    assert (metrics["n_input_tokens"], metrics["n_tokens"]) == (20 * N, 8 * N)
    assert run.tallied == {"generate_tokens": 8 * N}
    traces = small.datasets.get("made").traces
    assert traces is not None
    assert (traces["model"], traces["teacher"], traces["tokenizer_sha256"]) == ("big", "outside", None)
    # Neither the address nor the key is stored anywhere.
    stored = b"".join(path.read_bytes() for path in small.home.rglob("*") if path.is_file())
    assert KEY.encode() not in stored
    assert teacher.url.encode() not in stored


def test_turns_are_sent_to_the_chat_route(small: SmallGeneration) -> None:
    with running_teacher() as teacher:
        turn = {"role": "system", "content": "Think."}
        generate(run_of(small, teacher, context=[turn], key=None, top_k=5, repetition_penalty=1.5))
    assert set(teacher.paths) == {"/v1/chat/completions"}
    assert set(teacher.keys) == {None}
    body = teacher.requests[0]
    assert body["messages"][0] == turn
    assert body["messages"][1]["role"] == "user"
    assert (body["top_k"], body["repetition_penalty"]) == (5, 1.5)
    assert small.fields("target")[3] == f" of 2 words; {seed_of(0, item=3, prompt=0, sample=0) % 7}"


@pytest.mark.parametrize("context", [None, []])
def test_most_probable_tokens_have_a_vocabulary(small: SmallGeneration, context: Any) -> None:
    with running_teacher() as teacher:
        generate(run_of(small, teacher, logprobs=3, context=context))
    reader = small.top_tokens()
    assert reader.n_rows == N
    for index, target in enumerate(small.fields("target")):
        row, vocabulary = reader.row(index), reader.vocabulary_of(index)
        assert vocabulary is not None
        words = target.split(" ")[1:]
        assert [vocabulary[i] for i in row.ids] == words
        np.testing.assert_allclose(row.logprobs, [-0.25 * i for i in range(len(words))])
        assert [[vocabulary[j] for j in ids] for ids in row.top_ids] == [["w0", "w1", "w2"]] * len(words)
        np.testing.assert_allclose(row.top_logprobs, [[-0.5, -1.5, -2.5]] * len(words))


def test_a_teacher_without_log_probabilities_gives_texts(small: SmallGeneration) -> None:
    with running_teacher(gives_logprobs=False) as teacher:
        run = run_of(small, teacher, logprobs=3)
        generate(run)
    assert [len(row) for row in small.top_tokens().rows()] == [0] * N
    assert small.fields("n_tokens") == [4] * N
    assert "returned no log-probabilities" in run.warnings()[0]


def test_a_teacher_that_refuses_log_probabilities_gives_texts(small: SmallGeneration) -> None:
    def refuse(teacher: FakeTeacher, request: BaseHTTPRequestHandler, number: int) -> bool:
        if "logprobs" not in teacher.requests[number]:
            return False
        return send(request, 400, b'{"error": {"message": "logprobs are not supported"}}')

    with running_teacher(misbehave=refuse) as teacher:
        generate(run_of(small, teacher, logprobs=3))
    assert len(small.fields("target")) == N
    # Once that is known, later requests do not ask again.
    assert sum("logprobs" in body for body in teacher.requests) <= 3


def test_fewer_tokens_than_requested_are_filled_up(small: SmallGeneration) -> None:
    class Frugal(FakeTeacher):
        def answer(self, body: dict[str, Any], *, is_chat: bool) -> dict[str, Any]:
            found = super().answer({**body, "logprobs": 2}, is_chat=is_chat)
            found["choices"][0]["logprobs"]["top_logprobs"][0] = None
            found["choices"][0]["logprobs"]["token_logprobs"][0] = None
            return found

    with running_teacher() as teacher:
        teacher.answer = Frugal().answer  # type: ignore[method-assign]
        generate(run_of(small, teacher, logprobs=5))
    row = small.top_tokens().row(0)
    assert row.top_ids[0].tolist() == [NO_TOKEN] * 5
    assert row.top_ids[1, 2:].tolist() == [NO_TOKEN] * 3
    assert np.isneginf(row.top_logprobs[1, 2:]).all()
    assert np.isnan(row.logprobs[0])


@pytest.mark.parametrize("status", [429, 503, 500, 408])
def test_failures_that_pass_are_repeated(small: SmallGeneration, status: int) -> None:
    def often(teacher: FakeTeacher, request: BaseHTTPRequestHandler, number: int) -> bool:
        return number % 3 != 0 and send(request, status, b"busy", Retry_After="0")

    with running_teacher(misbehave=often) as teacher:
        metrics = generate(run_of(small, teacher))
    assert metrics["made"] == N
    assert len(teacher.requests) > 2 * N
    assert sorted({body["seed"] for body in teacher.requests}) == sorted(small.fields("seed"))


def test_the_wait_that_the_teacher_requests_is_kept(small: SmallGeneration, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(threading.Event, "wait", lambda self, timeout=None: waits.append(timeout) or False)  # type: ignore[func-returns-value]

    answers = iter([(429, "7"), (429, "Wed, 21 Oct 2015 07:28:00 GMT"), (503, "soon"), (200, "")])

    class Transport(httpx.BaseTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            status, wait = next(answers)
            return httpx.Response(status, json={"a": 1}, headers={"Retry-After": wait})

    client = teacher_client.TeacherClient(
        "outside", base_url="http://x", key=None, patience_s=60, transport=Transport(), random=lambda: 1.0
    )
    assert client.post("/completions", {}) == {"a": 1}
    assert waits == [7.0, 0.02, 0.02]


def test_a_wait_beyond_the_patience_ends_the_run(small: SmallGeneration) -> None:
    def busy(teacher: FakeTeacher, request: BaseHTTPRequestHandler, number: int) -> bool:
        return send(request, 429, b"", Retry_After="3600")

    with running_teacher(misbehave=busy) as teacher:
        with pytest.raises(
            Unavailable, match=r"'outside' answered with status 429, and requests were repeated for 60 s"
        ):
            generate(run_of(small, teacher))
        assert len(teacher.requests) <= 3
    assert not small.has_dataset()


def test_a_teacher_that_dies_and_returns(small: SmallGeneration) -> None:
    """The run fails with a sentence, and its next attempt requests only what is missing."""
    port: list[int] = []

    def die(teacher: FakeTeacher, request: BaseHTTPRequestHandler, number: int) -> bool:
        if number < 7:
            return False
        request.connection.shutdown(socket.SHUT_RDWR)
        request.close_connection = True
        return True

    with running_teacher(misbehave=die) as teacher:
        run = run_of(small, teacher, patience_s=0.05)
        with pytest.raises(Unavailable, match="does not answer completely"):
            generate(run)
        port.append(int(teacher.url.rpartition(":")[2].split("/")[0]))
    with pytest.raises(Unavailable, match=r"cannot be reached \(ConnectError\)") as failed:
        generate(run.again())
    assert str(port[0]) not in failed.value.detail
    n_stored = len(small.outputs().all())
    assert 0 < n_stored < 4
    assert not small.has_dataset()
    with running_teacher() as returned:
        after = run.again()
        after.settings = run_of(small, returned).settings
        metrics = generate(after)
    assert metrics["made"] == N
    assert len(returned.requests) == N - 3 * n_stored


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"<html>", "expected JSON"),
        (b'"a text"', "expected 'choices' in the answer, got none"),
        (b"{}", "expected 'choices' in the answer, got none"),
        (b'{"choices": []}', "expected one choice"),
        (b'{"choices": [3]}', "expected one choice"),
        (b'{"choices": [{"text": 5}]}', "expected text in its choice, got int"),
        (
            b'{"choices": [{"text": "a", "logprobs": {"tokens": ["a"], "token_logprobs": ["b"]}}]}',
            "expected log-probabilities",
        ),
        (b"[" * 100_000, "expected JSON"),
    ],
)
def test_nonsense_ends_the_run_after_some_tries(small: SmallGeneration, body: bytes, reason: str) -> None:
    def talk(teacher: FakeTeacher, request: BaseHTTPRequestHandler, number: int) -> bool:
        return send(request, 200, body)

    with (
        running_teacher(misbehave=talk) as teacher,
        pytest.raises(Unavailable, match=f"'outside' sent 3 answers to one request that are no completions: {reason}"),
    ):
        generate(run_of(small, teacher))
    assert small.outputs().all() == []
    assert not small.has_dataset()


def test_nonsense_now_and_then_does_no_harm(small: SmallGeneration) -> None:
    def talk(teacher: FakeTeacher, request: BaseHTTPRequestHandler, number: int) -> bool:
        return number % 4 == 1 and send(request, 200, b"nonsense")

    with running_teacher(misbehave=talk) as teacher:
        assert generate(run_of(small, teacher))["made"] == N


def test_lone_surrogates_and_missing_counts(small: SmallGeneration) -> None:
    def talk(teacher: FakeTeacher, request: BaseHTTPRequestHandler, number: int) -> bool:
        return send(request, 200, b'{"choices": [{"message": {"content": "a\\ud800b"}, "finish_reason": null}]}')

    with running_teacher(misbehave=talk) as teacher:
        generate(run_of(small, teacher))
    assert set(small.fields("target")) == {"a?b"}
    assert set(small.fields("finish_reason")) == {"stop"}
    assert set(small.fields("n_tokens")) == {0}


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (401, {"error": {"message": f"Incorrect API key: {KEY}"}}, r"refuses this server's key \(status 401\)\.$"),
        (403, {}, r"refuses this server's key \(status 403\)\.$"),
        (
            404,
            {"error": {"message": "no such model\nbig."}},
            r"refuses a request with status 404: no such model big\.$",
        ),
        (400, {"detail": "x"}, r"refuses a request with status 400\.$"),
        (302, {}, r"refuses a request with status 302\.$"),
    ],
)
def test_a_refusal_is_not_repeated(small: SmallGeneration, status: int, body: Any, reason: str) -> None:
    def refuse(teacher: FakeTeacher, request: BaseHTTPRequestHandler, number: int) -> bool:
        return send(request, status, json.dumps(body).encode())

    with running_teacher(misbehave=refuse) as teacher:
        with pytest.raises(InvalidRequest, match=reason) as refused:
            generate(run_of(small, teacher))
        assert len(teacher.requests) <= 3
    assert KEY not in refused.value.detail
    assert not small.has_dataset()


def test_a_second_run_makes_no_request(small: SmallGeneration) -> None:
    with running_teacher() as teacher:
        generate(run_of(small, teacher, logprobs=2))
        n_requests = len(teacher.requests)
        second = run_of(small, teacher, logprobs=2, run_id="run-2", name="second", keep="majority", dedupe=True)
        generate(second)
        assert len(teacher.requests) == n_requests == N
        generate(run_of(small, teacher, run_id="run-3", name="third", model="bigger"))
        assert len(teacher.requests) == 2 * N
    assert small.fields("target", "second") == small.fields("target")


def test_a_killed_run_requests_only_the_missing_shards(small: SmallGeneration) -> None:
    with running_teacher() as teacher:
        run = run_of(small, teacher)
        run.kill_after = 3
        with pytest.raises(Killed):
            generate(run)
        n_requests, n_stored = len(teacher.requests), len(small.outputs().all())
        assert n_stored == 1
        after = run.again()
        generate(after)
        assert len(teacher.requests) - n_requests == N - 3
    assert small.fields("item") == list(range(N))


def test_a_stop_does_not_wait_for_the_teacher(small: SmallGeneration, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.generate.teachers.source._CHECK_INTERVAL_S", 0.01)
    free = threading.Event()

    def hang(teacher: FakeTeacher, request: BaseHTTPRequestHandler, number: int) -> bool:
        free.wait(60)
        request.close_connection = True
        return True

    with running_teacher(misbehave=hang) as teacher:
        run = run_of(small, teacher)
        run.stop_at = 8
        try:
            with pytest.raises(RunStopped):
                generate(run)
            assert not free.is_set()
        finally:
            free.set()
    assert small.outputs().all() == []


def test_helpers_leave_teachers_alone(small: SmallGeneration) -> None:
    with running_teacher() as teacher:
        run = run_of(small, teacher)
        run.kill_after = 3
        with pytest.raises(Killed):
            generate(run)
        n_requests = len(teacher.requests)
        helper = run_of(small, teacher)
        help_generate(helper)
        assert len(teacher.requests) == n_requests


def test_a_worker_without_the_teacher(small: SmallGeneration) -> None:
    run = small.run(model="big", teacher="outside")
    with pytest.raises(NotFound, match="This worker has no teacher 'outside'; it has none"):
        generate(run)
    assert issubclass(teacher_client.Nonsense, AtlasError)
