"""Starting runs, and finding them again."""

from __future__ import annotations

from typing import Any

import anyio
import httpx
import numpy as np
import pytest
from promptatlas import AsyncClient, Client, Run, errors, types

from tests.clients.python.promptatlas.fake_runs import ID, TUNE_SPEC, ended, info
from tests.clients.python.promptatlas.fake_server import FakeServer, problem, reply


def test_tuning(client: Client, server: FakeServer) -> None:
    server.will(reply(info(), status=202))
    run = client.runs.tune(
        model="demo",
        dataset="demo-qa",
        priors=[
            {"kind": "isotropic", "std": 0.1},
            types.GaussianPrior(fit=types.EmbeddingsSource(embeddings="vocabulary")),
        ],
        seeds=range(2),
        method=types.SoftMethod(n_virtual=8),
        optimizer={"lr": np.array([0.25, 0.5]), "steps": 100},
        name="qa",
        run_name="sweep",
        request_id="mine",
    )
    assert (run.id, run.kind, run.name, run.status, run.info.queue_position) == (ID, "tune", "sweep", "queued", 2)
    assert (server.request.method, server.request.url.path) == ("POST", "/v1/runs")
    assert server.sent == {
        "kind": "tune",
        "name": "sweep",
        "spec": {
            "model": "demo",
            "dataset": "demo-qa",
            "priors": [
                {"kind": "isotropic", "std": 0.1},
                {"kind": "gaussian", "fit": {"embeddings": "vocabulary"}},
            ],
            "seeds": [0, 1],
            "method": {"kind": "soft", "n_virtual": 8},
            "optimizer": {"lr": [0.25, 0.5], "steps": 100},
            "name": "qa",
        },
    }
    assert server.request.headers["x-request-id"] == "mine"
    assert len(server.request.headers["idempotency-key"]) == 32


def test_deleting(client: Client, async_client: AsyncClient, server: FakeServer) -> None:
    server.will(httpx.Response(204))
    client.runs.delete(ID)
    assert (server.request.method, server.request.url.path) == ("DELETE", f"/v1/runs/{ID}")
    server.will(problem(409, "cancel it first"))
    with pytest.raises(errors.ConflictError, match="cancel it first"):
        client.runs.delete(ID)
    server.will(httpx.Response(204))
    anyio.run(async_client.runs.delete, ID)
    assert server.request.method == "DELETE"


def test_a_typed_spec(client: Client, server: FakeServer) -> None:
    server.will(reply(info(), status=202))
    mixed = {"kind": "interpolation", "from": {"kind": "xavier"}, "to": {"kind": "vocabulary"}}
    spec = types.TuneSpec.model_validate({**TUNE_SPEC, "priors": [mixed]})
    client.runs.create("tune", spec)
    assert server.sent == {"kind": "tune", "spec": {**TUNE_SPEC, "priors": [mixed]}}
    typed = types.InterpolationPrior(from_=types.XavierPrior(), to=types.VocabularyPrior())
    client.runs.create("tune", {**TUNE_SPEC, "priors": [typed]})
    assert server.sent == {"kind": "tune", "spec": {**TUNE_SPEC, "priors": [mixed]}}


def test_distilling(client: Client, server: FakeServer) -> None:
    server.will(reply(info(kind="distill"), status=202))
    loss: list[Any] = [types.DivergenceLoss(kind="kl", top_k=8), {"kind": "sequence", "weight": 0.5}]
    run = client.runs.distill(
        model="demo",
        dataset="demo-qa",
        priors=[{"kind": "xavier"}],
        teacher={"context": "Think. "},
        loss=loss,
        run_name="thoughts",
    )
    assert run.kind == "distill"
    spec = {"model": "demo", "dataset": "demo-qa", "priors": [{"kind": "xavier"}], "teacher": {"context": "Think. "}}
    terms = [{"kind": "kl", "top_k": 8}, {"kind": "sequence", "weight": 0.5}]
    assert server.sent == {"kind": "distill", "spec": {**spec, "loss": terms}, "name": "thoughts"}


def test_evaluating(client: Client, server: FakeServer) -> None:
    server.will(reply(info(kind="evaluate"), status=202))
    run = client.runs.evaluate(model="demo", prompts=[None, "qa@1"], dataset="demo-qa", split="test", n=50)
    assert run.kind == "evaluate"
    spec = {"model": "demo", "prompts": [None, "qa@1"], "dataset": "demo-qa", "split": "test", "n": 50}
    assert server.sent == {"kind": "evaluate", "spec": spec}


def test_generating(client: Client, server: FakeServer) -> None:
    server.will(reply(info(kind="generate"), status=202))
    rule, shots = types.LastNumber(find="last_number"), types.Shots(shots=3)
    run = client.runs.generate(
        model="demo", dataset="demo-qa", name="made", n=4, keep="correct", answer=rule, context=shots, run_name="chains"
    )
    assert run.kind == "generate"
    spec = {"model": "demo", "dataset": "demo-qa", "name": "made", "n": 4, "keep": "correct"}
    spec |= {"answer": {"find": "last_number"}, "context": {"shots": 3}}
    assert server.sent == {"kind": "generate", "spec": spec, "name": "chains"}
    with pytest.raises(errors.InvalidRequestError, match="logprobs"):
        client.runs.generate(model="demo", dataset="demo-qa", name="made", logprobs=65)


@pytest.mark.parametrize("kind", types.RUN_KINDS)
def test_a_run_of_any_kind_can_be_created(client: Client, server: FakeServer, kind: types.RunKind) -> None:
    specs: dict[str, dict[str, Any]] = {
        "tune": TUNE_SPEC,
        "distill": {**TUNE_SPEC, "teacher": {"dataset": "sums"}},
        "evaluate": {"model": "demo", "prompts": [None], "dataset": "demo-qa"},
        "generate": {"model": "demo", "dataset": "demo-qa", "name": "made"},
        "batch": {"model": "demo", "input_file_id": "file-1", "endpoint": "/v1/completions"},
        "harvest": {"model": "demo", "dataset": "demo-qa"},
        "map": {"model": "demo", "sources": [{"dataset": "demo-qa"}]},
        "report": {"model": "demo", "datasets": ["demo-qa"]},
        "sample": {"model": "demo", "prior": {"kind": "xavier"}},
    }
    server.will(reply(info(kind=kind), status=202))
    client.runs.create(kind, specs[kind], name="x")
    assert server.sent == {"kind": kind, "spec": specs[kind], "name": "x"}


@pytest.mark.parametrize("kind", ["knit", "teach"])
def test_a_kind_that_does_not_exist_is_refused_before_sending(client: Client, server: FakeServer, kind: Any) -> None:
    with pytest.raises(
        errors.InvalidRequestError,
        match="'tune', 'distill', 'evaluate', 'generate', 'batch', 'harvest', 'map', 'report' or 'sample'",
    ):
        client.runs.create(kind, {})
    assert server.requests == []


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"stepps": 3}, "stepps"),
        ({"seeds": []}, "seeds"),
        ({"optimizer": {"lr": -1.0}}, "optimizer.lr"),
        ({"method": {"kind": "hard"}}, "method"),
        ({"keep": "worst"}, "keep"),
    ],
)
def test_invalid_requests_are_not_sent(client: Client, server: FakeServer, change: dict[str, Any], where: str) -> None:
    with pytest.raises(errors.InvalidRequestError, match=where):
        client.runs.tune(model="demo", dataset="demo-qa", priors=[{"kind": "xavier"}], **change)
    assert server.requests == []


def test_an_invalid_spec_has_locations(client: Client, server: FakeServer) -> None:
    server.will(problem(422, "spec.method.layers.0: the model has 6 layers, got 9"))
    with pytest.raises(errors.InvalidRequestError, match="the model has 6 layers"):
        client.runs.tune(**TUNE_SPEC)  # type: ignore[arg-type]


def test_a_run_by_its_id(client: Client, server: FakeServer) -> None:
    server.will(reply(ended(resolved={"model": "ab"})))
    run = client.runs.get("run/7")
    assert server.request.url.raw_path == b"/v1/runs/run%2F7"
    assert run.ended
    assert run.outcome == {"test/exact_match": 0.875}
    assert run.prompts == ["qa@1", "qa@2"]
    assert [file.path for file in run.artifacts] == ["spec.json", "draws/qa@1"]
    assert run.info.model_dump()["resolved"] == {"model": "ab"}
    assert repr(run) == f"Run(id='{ID}', kind='tune', status='succeeded')"


def test_runs_are_listed_through_all_pages(client: Client, server: FakeServer) -> None:
    first = {"data": [info(id="b")], "has_more": True, "next": "c1"}
    server.will(reply(first), reply({"data": [ended(id="a")]}))
    runs = list(client.runs.list(kind="tune", status="failed", limit=1))
    assert [run.id for run in runs] == ["b", "a"]
    assert all(isinstance(run, Run) for run in runs)
    queries = [dict(request.url.params) for request in server.requests]
    assert queries[0] == {"kind": "tune", "status": "failed", "limit": "1"}
    assert queries[1] == {**queries[0], "after": "c1"}


def test_async_runs(async_client: AsyncClient, server: FakeServer) -> None:
    async def run() -> None:
        server.will(reply(info(), status=202))
        assert (await async_client.runs.tune(**TUNE_SPEC)).id == ID  # type: ignore[arg-type]
        assert server.sent["spec"] == TUNE_SPEC
        assert (await async_client.runs.evaluate(model="demo", prompts=["a"], dataset="d")).id == ID
        assert server.sent["spec"] == {"model": "demo", "prompts": ["a"], "dataset": "d"}
        server.will(reply(ended()))
        assert (await async_client.runs.get(ID)).ended
        server.will(reply({"data": [info(id="b")], "has_more": True, "next": "c1"}), reply({"data": [info(id="a")]}))
        assert [run.id async for run in await async_client.runs.list(limit=1)] == ["b", "a"]

    anyio.run(run)


def test_planning_without_a_run(client: Client, server: FakeServer) -> None:
    planned = {"kind": "tune", "spec": {"model": "demo"}, "resolved": {}, "memory_bytes": 12, "duration_s": 3.5}
    server.will(reply(planned))
    plan = client.runs.plan("tune", TUNE_SPEC)
    assert (server.request.method, server.request.url.path) == ("POST", "/v1/runs")
    assert dict(server.request.url.params) == {"dry_run": "true"}
    assert server.sent["kind"] == "tune"
    assert (plan.memory_bytes, plan.duration_s, plan.predicted_from) == (12, 3.5, None)
