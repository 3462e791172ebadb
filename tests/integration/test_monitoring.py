"""Metrics, alerts, dashboard and traces of a real service with a worker that has done some work."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from service.queueing.embedded_redis import find_server
from tests.integration.otlp_collector import CollectedSpan, Collector
from tests.integration.running import ROOT, Service, running_service, wait_until
from tests.integration.test_runs import TUNE

pytestmark = pytest.mark.skipif(find_server() is None, reason="no redis-server here")

MONITORING = ROOT / "deploy" / "monitoring"
OF_PROMETHEUS = frozenset({"instance", "job"})
"""Labels that Prometheus adds to each series of a scrape."""

TRACE_ID, CLIENT_SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = {"traceparent": f"00-{TRACE_ID}-{CLIENT_SPAN}-01"}


@dataclass
class Work:
    """What a service has left behind: its metrics, its spans, and the id of its run."""

    metrics: str
    spans: list[CollectedSpan]
    run_id: str
    log: str


@pytest.fixture(scope="module")
def work(model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Work]:
    with Collector() as collector, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        folder = tmp_path_factory.mktemp("watched")
        with running_service(folder, models=f"tiny={model_path}", WORKERS="1", DEVICE="cpu", LOG="json") as service:
            service.wait_until_ready()
            with httpx.Client(base_url=service.url, timeout=120) as http:
                run_id = _work(http, service)
                wait_until(lambda: _is_counted(http), why=service.log.read_text)
                metrics = http.get("/metrics").text
                wait_until(lambda: _is_exported(collector), why=lambda: [span.name for span in collector.spans])
            assert service.stop() == 0
        yield Work(metrics=metrics, spans=collector.spans, run_id=run_id, log=service.log.read_text())


def _work(http: httpx.Client, service: Service) -> str:
    lines = "".join(f'{{"input": "{n}+1=", "target": "{n + 1}"}}\n' for n in range(30))
    headers = {"Content-Type": "application/jsonl"}
    http.post("/v1/datasets", params={"name": "sums", "format": "jsonl"}, content=lines, headers=headers)
    begun = http.post("/v1/runs", json={"kind": "tune", "spec": TUNE}, headers=TRACEPARENT)
    assert begun.status_code == 202, begun.text

    def ended() -> bool:
        time.sleep(0.3)
        return bool(http.get(begun.headers["Location"]).json()["status"] == "succeeded")

    wait_until(ended, why=service.log.read_text)
    prompt = http.get(begun.headers["Location"]).json()["prompts"][0]
    body = {"model": "tiny", "prompt": "1+1=", "max_tokens": 4, "n": 2, "prompt_ref": prompt}
    for stream in (False, True):
        answer = http.post("/v1/completions", json={**body, "stream": stream}, headers=TRACEPARENT)
        assert answer.status_code == 200, answer.text
    assert http.post("/v1/completions", json={**body, "max_tokens": 10**6}, headers=TRACEPARENT).status_code == 422
    return str(begun.json()["id"])


def _is_counted(http: httpx.Client) -> bool:
    """Whether the tallies of the run and the last state of the engine have arrived."""
    text = http.get("/metrics").text
    return all(
        line in text
        for line in (
            'promptatlas_runs_ended_total{kind="tune",status="succeeded"} 1.0',
            'promptatlas_request_success_total{engine="0",finished_reason="length",model_name="tiny"} 4.0',
        )
    )


def _is_exported(collector: Collector) -> bool:
    names = [span.name for span in collector.spans]
    return names.count("decode") == 2 and "run tune" in names and names.count("POST /v1/completions") == 3


# --- metrics ---


def labels_by_sample(metrics: str) -> dict[str, set[str]]:
    """Label names of each sample name."""
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(metrics):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def value_of(metrics: str, name: str, **labels: str) -> float:
    return next(
        sample.value
        for family in text_string_to_metric_families(metrics)
        for sample in family.samples
        if sample.name == f"promptatlas_{name}" and labels.items() <= sample.labels.items()
    )


def test_the_work_is_counted(work: Work) -> None:
    # Two completions of two sequences with four tokens each, over an input of four.
    assert value_of(work.metrics, "prompt_tokens_total", model_name="tiny") == 16
    assert value_of(work.metrics, "generation_tokens_total", model_name="tiny") == 16
    assert value_of(work.metrics, "time_to_first_token_seconds_count", model_name="tiny") == 4
    assert value_of(work.metrics, "inter_token_latency_seconds_count", model_name="tiny") == 12
    assert value_of(work.metrics, "requests_total", route="/v1/completions", status="422") == 1
    assert value_of(work.metrics, "tuning_steps_total") == TUNE["optimizer"]["steps"]  # type: ignore[index]
    assert value_of(work.metrics, "tuning_tokens_total") > 0
    assert value_of(work.metrics, "run_attempts_total", kind="tune", outcome="succeeded") == 1
    assert value_of(work.metrics, "checkpoint_seconds_count", kind="tune") >= 1
    assert value_of(work.metrics, "run_queue_seconds_count") == 1
    assert value_of(work.metrics, "n_workers") == 1


def test_the_page_describes_exactly_the_metrics_that_there_are(work: Work) -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    described: dict[str, tuple[str, frozenset[str]]] = {}
    for names, kind, labels in re.findall(r"^\| (`promptatlas_[^|]*) \| (\w+) \| ([^|]*)\|", page, re.MULTILINE):
        for name in re.findall(r"`(\w+)`", names):
            described[name] = (kind, frozenset(re.findall(r"\w+", labels)))
    found = {
        family.name: (family.type, frozenset(name for one in family.samples for name in one.labels) - {"le"})
        for family in text_string_to_metric_families(work.metrics)
        if not family.name.endswith("_created")
    }
    assert described == found


# --- alerts and dashboard ---


def rules() -> list[dict[str, Any]]:
    loaded = yaml.safe_load((MONITORING / "alerts.yml").read_text())
    assert set(loaded) == {"groups"}
    for group in loaded["groups"]:
        assert set(group) == {"name", "rules"}
    return [rule for group in loaded["groups"] for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((MONITORING / "grafana" / "promptatlas.json").read_text())
    return loaded


def expressions() -> dict[str, str]:
    """All expressions, with values for Grafana's variables."""
    found = {rule["alert"]: rule["expr"] for rule in rules()}
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            expr = re.sub(r"\$__rate_interval", "5m", target["expr"])
            found[f"{panel['title']} {target['refId']}"] = re.sub(r"\$\w+", "x", expr)
    return found


def unknown_in(expr: str, *, known: dict[str, set[str]]) -> list[str]:
    """Metrics and labels of an expression that no sample has."""
    available: set[str] = set(OF_PROMETHEUS)
    unknown: list[str] = []

    def visit(node: Any) -> bool:
        if isinstance(node, promql_parser.VectorSelector) and node.name != "up":
            name = str(node.name)
            labels = known.get(name, set()) | OF_PROMETHEUS
            available.update(labels)
            if name not in known:
                unknown.append(name)
            unknown.extend(f"{name}.{one.name}" for one in node.matchers.matchers if one.name not in labels)
        return True

    parsed = promql_parser.parse(expr)
    promql_parser.walk(parsed, visit)

    def visit_labels(node: Any) -> bool:
        modifier = getattr(node, "modifier", None)
        named = getattr(modifier, "labels", None) if isinstance(node, promql_parser.AggregateExpr) else None
        unknown.extend(f"by {name}" for name in named or () if name not in available)
        return True

    promql_parser.walk(parsed, visit_labels)
    return unknown


def test_every_metric_and_label_of_alerts_and_dashboard_exists(work: Work) -> None:
    known = labels_by_sample(work.metrics)
    assert len(expressions()) > 50
    for where, expr in expressions().items():
        assert not unknown_in(expr, known=known), (where, expr)


def test_an_unknown_metric_or_label_would_be_found(work: Work) -> None:
    known = labels_by_sample(work.metrics)
    for expr, expected in (
        ("promptatlas_nope > 0", ["promptatlas_nope"]),
        ('promptatlas_n_runs{state="queued"}', ["promptatlas_n_runs.state"]),
        ("sum by (kind) (promptatlas_n_runs)", ["by kind"]),
    ):
        assert unknown_in(expr, known=known) == expected


def test_rules_have_the_form_that_prometheus_expects() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names)
    for rule in rules():
        assert (
            {"alert", "expr", "labels", "annotations"} <= set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        )
        assert re.fullmatch(r"[A-Za-z_]\w*", rule["alert"])
        assert promql_parser.parse_duration(rule.get("for", "1s")) is not None
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert set(rule["annotations"]) == {"summary", "description"}
        kept = _labels_kept(rule["expr"])
        for text in rule["annotations"].values():
            assert kept is None or set(re.findall(r"\$labels\.(\w+)", text)) <= kept, rule["alert"]


def _labels_kept(expr: str) -> set[str] | None:
    """Labels of the result of an aggregation; None for an expression without one."""
    by: list[set[str]] = []

    def visit(node: Any) -> bool:
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
            by.append(set(node.modifier.labels))
        return True

    promql_parser.walk(promql_parser.parse(expr), visit)
    return by[0] if by else None


def test_panels_do_not_overlap_and_use_the_chosen_data_source() -> None:
    board = dashboard()
    variables = {variable["name"] for variable in board["templating"]["list"]}
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
        for target in panel.get("targets", ()):
            assert target["datasource"]["uid"] == "${datasource}"
            assert set(re.findall(r"\$(\w+)", target["expr"])) <= variables | {"__rate_interval"}
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)


def test_the_scrape_configuration_and_compose_name_files_that_exist() -> None:
    scrape = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    assert [(MONITORING / name).is_file() for name in scrape["rule_files"]] == [True]
    (job,) = scrape["scrape_configs"]
    assert (job["job_name"], job["metrics_path"]) == ("promptatlas", "/metrics")
    compose = yaml.safe_load((MONITORING / "compose.yaml").read_text())
    mounted = [volume for service in compose["services"].values() for volume in service["volumes"]]
    for volume in mounted:
        if volume.startswith("./"):
            assert (ROOT / "deploy" / volume.split(":")[0]).is_file()
    main = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())
    assert job["static_configs"][0]["targets"][0].partition(":")[0] in main["services"]
    assert not set(compose["services"]) & set(main["services"])


# --- traces ---


def test_a_request_is_one_trace_from_the_client_to_the_decode(work: Work) -> None:
    by_id = {span.span_id: span for span in work.spans}
    requests = [span for span in work.spans if span.name == "POST /v1/completions"]
    assert len(requests) == 3
    for request in requests:
        assert (request.process, request.trace_id, request.parent_id) == ("api", TRACE_ID, CLIENT_SPAN)
    phases = [span for span in work.spans if span.name in ("queue", "prefill", "decode")]
    assert sorted(span.name for span in phases) == ["decode"] * 2 + ["prefill"] * 2 + ["queue"] * 2
    for span in phases:
        engine = by_id[span.parent_id]
        request = by_id[engine.parent_id]
        assert (span.process, engine.process, request.process) == ("engine", "engine", "api")
        assert (engine.name, request.name) == ("text_completion tiny", "POST /v1/completions")
        assert span.trace_id == engine.trace_id == request.trace_id == TRACE_ID
        assert request.start_ns <= engine.start_ns <= span.start_ns <= span.end_ns <= engine.end_ns
        assert engine.attributes["gen_ai.request.model"] == "tiny"
        assert engine.attributes["gen_ai.usage.input_tokens"] == 4
        assert engine.attributes["gen_ai.usage.output_tokens"] == 8
    validations = [span for span in work.spans if span.name == "validate"]
    assert {by_id[span.parent_id].name for span in validations} >= {"POST /v1/completions"}


def test_a_request_that_the_engine_refuses_shows_where(work: Work) -> None:
    (refused,) = [span for span in work.spans if span.attributes.get("error.type") == "ContextLengthExceeded"]
    assert (refused.name, refused.process) == ("text_completion tiny", "engine")


def test_a_run_is_linked_to_the_request_that_started_it(work: Work) -> None:
    (request,) = [span for span in work.spans if span.name == "POST /v1/runs"]
    (run,) = [span for span in work.spans if span.name == "run tune"]
    assert (run.process, run.parent_id, run.links) == ("worker", "", [request.span_id])
    assert run.trace_id != request.trace_id
    assert run.attributes["promptatlas.run.id"] == work.run_id
    assert run.attributes["promptatlas.run.outcome"] == "succeeded"


def test_access_lines_of_a_real_server_have_the_trace_and_the_tokens(work: Work) -> None:
    lines = [json.loads(line) for line in work.log.splitlines() if line.startswith("{")]
    found = [line for line in lines if line["event"] == "request" and line.get("route") == "/v1/completions"]
    assert [(line["status"], line.get("completion_tokens")) for line in found] == [(200, 8), (200, 8), (422, None)]
    for line in found:
        assert (line["trace_id"], line["client"], line["model"]) == (TRACE_ID, "127.0.0.1", "tiny")
        assert re.fullmatch("sum-[a-z0-9-]+@1", line["prompt"])
        assert re.fullmatch("[0-9a-f]{64}", line["prompt_sha256"])
        assert "1+1" not in json.dumps(line)
