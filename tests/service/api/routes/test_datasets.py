"""Datasets over HTTP."""

from __future__ import annotations

import gzip
import hashlib
import json
import random
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.service.api.conftest import OpenWorld, World

PAIRS = b"".join(b'{"input":"q%d","target":" %d"}\n' % (i, i) for i in range(20))
FORMATS = ("jsonl", "squad", "gsm8k", "deepmind-math", "text")


def upload(world: World, data: Any = PAIRS, *, query: str = "format=jsonl", name: str = "sums", **options: Any) -> Any:
    headers = {"Content-Type": "application/octet-stream", **options.pop("headers", {})}
    return world.client.post(f"/v1/datasets?name={name}&{query}", content=data, headers=headers, **options)


def keys(**scopes: str) -> str:
    return ",".join(f"{name}:{scope}:{hashlib.sha256(name.encode()).hexdigest()}" for name, scope in scopes.items())


def test_an_upload_is_a_dataset_and_the_same_again_is_that_dataset(world: World) -> None:
    first, again = upload(world), upload(world)
    assert [answer.status_code for answer in (first, again)] == [201, 200]
    assert first.json() == again.json()
    assert first.headers["location"] == again.headers["location"] == "/v1/datasets/sums"
    manifest = first.json()
    assert {field: manifest[field] for field in ("name", "format", "n_records", "template", "fields", "builtin")} == {
        "name": "sums",
        "format": "jsonl",
        "n_records": 20,
        "template": {"input": "{input}", "target": "{target}"},
        "fields": ["input", "target"],
        "builtin": False,
    }
    assert manifest["sha256"].startswith("sha256:")
    assert sum(manifest["splits"].values()) == 20


def test_other_content_needs_another_name_or_a_deletion(world: World) -> None:
    upload(world)
    refused = upload(world, PAIRS + PAIRS)
    assert refused.status_code == 409
    assert "delete it first, or use another name" in refused.json()["detail"]
    assert world.client.delete("/v1/datasets/sums").status_code == 204
    assert upload(world, PAIRS + PAIRS).status_code == 201


def test_a_peek_shows_items_as_the_model_gets_them(world: World) -> None:
    upload(world)
    page = world.client.get("/v1/datasets/sums?limit=2").json()
    assert page["data"][0] == {
        "input": "q0",
        "target": " 0",
        "answers": ["0"],
        "split": page["data"][0]["split"],
        "index": 0,
        "record": {"input": "q0", "target": " 0"},
    }
    assert (page["object"], page["has_more"], page["next"], page["n_records"]) == ("list", True, "1", 20)
    assert page["template"] == {"input": "{input}", "target": "{target}"}
    rest = world.client.get(f"/v1/datasets/sums?limit=100&after={page['next']}").json()
    assert [item["index"] for item in rest["data"]] == list(range(2, 20))
    assert (rest["has_more"], rest["next"]) == (False, None)
    for split, n in page["splits"].items():
        part = world.client.get(f"/v1/datasets/sums?limit=100&split={split}").json()["data"]
        assert [item["split"] for item in part] == [split] * n


def test_a_peek_tries_another_template(world: World) -> None:
    upload(world)
    page = world.client.get("/v1/datasets/sums", params={"limit": 1, "input": "Q: {input}\nA:"}).json()
    assert page["data"][0]["input"] == "Q: q0\nA:"
    assert page["template"] == {"input": "Q: {input}\nA:", "target": "{target}"}
    bad = world.client.get("/v1/datasets/sums", params={"target": "{input.__class__}"})
    assert bad.status_code == 422
    assert bad.json()["detail"].endswith("The fields there are: {input}, {target}.")
    assert bad.json()["errors"][0]["loc"] == ["query", "target"]


def test_running_text_is_shown_as_text(world: World) -> None:
    upload(world, b"One.\nTwo.\n", query="format=text")
    page = world.client.get("/v1/datasets/sums").json()
    assert page["template"] is None
    assert [sorted(item) for item in page["data"]] == [["index", "split", "text"]] * 2


def test_a_template_and_cloze_items_come_with_the_upload(world: World) -> None:
    made = upload(world, b'{"q":"1+1","a":2}\n', query=f"format=jsonl&input={quote('{q}=')}&target={quote('{a}')}")
    assert made.json()["template"] == {"input": "{q}=", "target": "{a}"}
    text = b"The keeper climbed the long stairs of the tower every evening.\n"
    made = upload(world, text, query="format=text&cloze=true", name="gaps")
    assert (made.status_code, made.json()["n_records"]) == (201, 1)
    (item,) = world.client.get("/v1/datasets/gaps").json()["data"]
    assert item["record"]["masked"].replace("___", item["answers"][0]) == text.decode().strip()
    assert upload(world, query="format=jsonl&cloze=true", name="no").status_code == 422


@pytest.mark.parametrize(
    ("data", "query", "loc", "said"),
    [
        (b"", "format=jsonl", ["body"], "Expected at least one record, got an empty file."),
        (PAIRS + b'{"input":"x"}', "format=jsonl", ["body", 21], "Line 21: expected a field 'target'"),
        (PAIRS + b"\xc3\x28", "format=jsonl", ["body", 21], "Line 21: expected UTF-8 text"),
        (PAIRS + b"\0", "format=jsonl", ["body", 21], "Line 21: expected UTF-8 text, got a NUL character at byte 1."),
        (gzip.compress(PAIRS), "format=jsonl", ["body"], "The file is a gzip file; upload it uncompressed."),
        (b"q\n1\nq", "format=deepmind-math", ["body", 4], "Line 4: expected the answer"),
        (b"[7]", "format=squad", ["body", 0], "[0]: expected a JSON object, got a number"),
        (PAIRS, "format=jsonl&input={nope}", ["query", "input"], "The fields there are: {input}, {target}."),
    ],
)
def test_a_bad_upload_says_where_and_stores_nothing(
    world: World, data: bytes, query: str, loc: list[Any], said: str
) -> None:
    answer = upload(world, data, query=query)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert said in answer.json()["detail"]
    assert answer.json()["errors"][0]["loc"] == loc
    assert world.client.get("/v1/datasets/sums").status_code == 404


@pytest.mark.parametrize("query", ["", "format=csv", "format=jsonl&cloze=perhaps", f"format=jsonl&input={'x' * 2049}"])
def test_parameters_have_a_form(world: World, query: str) -> None:
    assert upload(world, query=query).status_code == 422


@pytest.mark.parametrize("name", ["", "Upper", "sp ace", "a" * 65, "../up", "hub:a/b"])
def test_names_have_a_form(world: World, name: str) -> None:
    assert upload(world, name=name).status_code == 422


def test_a_form_is_not_the_file(world: World) -> None:
    answer = world.client.post("/v1/datasets?name=d&format=jsonl", files={"file": PAIRS})
    assert answer.status_code == 415
    assert "the file itself" in answer.json()["detail"]


@pytest.mark.parametrize("kind", ["application/json", "application/jsonl", "application/x-ndjson; charset=utf-8"])
def test_an_upload_may_have_the_type_of_its_file(world: World, kind: str) -> None:
    assert upload(world, headers={"Content-Type": kind}).status_code == 201


def test_an_upload_may_be_larger_than_other_bodies_and_is_spooled(open_world: OpenWorld) -> None:
    world = open_world(max_body_bytes=1024)
    line = json.dumps({"input": "x" * 5000, "target": "y"}) + "\n"
    blocks = (line.encode() for _ in range(700))
    answer = upload(world, blocks)
    assert (answer.status_code, answer.json()["n_records"]) == (201, 700)
    assert answer.json()["n_bytes"] > 3 << 20


def test_an_upload_has_a_limit_that_is_named(open_world: OpenWorld) -> None:
    world = open_world(max_dataset_bytes=1024)
    answer = upload(world, PAIRS * 3)
    assert answer.status_code == 413
    assert "1,024 bytes" in answer.json()["detail"]


def test_a_peek_has_a_limit_that_is_named(open_world: OpenWorld) -> None:
    world = open_world(max_json_bytes=2048)
    upload(world, (json.dumps({"text": "word " * 300}) + "\n") * 3)
    assert world.client.get("/v1/datasets/sums?limit=1").status_code == 413
    assert "bytes per response" in world.client.get("/v1/datasets/sums?limit=3").json()["detail"]


def test_the_list_pages_through_stored_and_built_in_ones(world: World) -> None:
    upload(world, name="zoo")
    found: list[str] = []
    after = ""
    while True:
        page = world.client.get(f"/v1/datasets?limit=2{after}").json()
        found += [row["name"] for row in page["data"]]
        if not page["has_more"]:
            break
        after = f"&after={page['next']}"
    assert found == ["demo-arithmetic", "demo-arithmetic-cot", "demo-cloze", "demo-qa", "demo-text", "zoo"]
    assert world.client.get("/v1/datasets?limit=0").status_code == 422


def test_built_in_datasets_stay(world: World) -> None:
    page = world.client.get("/v1/datasets/demo-qa?split=test&limit=1").json()
    assert (page["builtin"], page["data"][0]["split"]) == (True, "test")
    assert world.client.delete("/v1/datasets/demo-qa").status_code == 409
    assert upload(world, name="demo-qa").status_code == 409


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize(
    ("name", "status"),
    [("none", 404), ("Upper", 422), ("..%2Fx", 422), ("hub:..%2Fx", 422), ("hub:x", 422), ("a/b", 422)],
)
def test_what_is_not_there_is_not_found(world: World, method: str, name: str, status: int) -> None:
    assert world.client.request(method, f"/v1/datasets/{name}").status_code == status


def test_a_dataset_of_the_hub_has_an_address(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world.services.hub._store, "_load_hub", lambda *_: {"train": [{"text": "a"}], "test": []})
    for address in ("hub:owner/name:main", quote("hub:owner/name:main", safe="")):
        assert world.client.put(f"/v1/datasets/{address}").json()["name"] == "hub:owner/name:main"
        page = world.client.get(f"/v1/datasets/{address}").json()
        assert (page["name"], page["data"][0]["text"]) == ("hub:owner/name:main", "a")
    assert world.client.delete("/v1/datasets/hub:owner/name:main").status_code == 204


def test_an_upload_sent_again_under_its_key_is_answered_as_before(world: World) -> None:
    headers = {"Idempotency-Key": "once"}
    first = upload(world, headers=headers)
    world.client.delete("/v1/datasets/sums")
    again = upload(world, headers=headers)
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["idempotent-replayed"] == "true"
    assert world.client.get("/v1/datasets/sums").status_code == 404
    assert upload(world, PAIRS * 2, headers=headers).status_code == 409
    bad = {"Idempotency-Key": "other"}
    assert upload(world, b"{", headers=bad).status_code == 422
    assert upload(world, headers=bad).status_code == 201


def test_scopes(open_world: OpenWorld) -> None:
    world = open_world(api_keys=keys(r="read", w="write", a="admin"))

    def as_(key: str) -> dict[str, Any]:
        return {"headers": {"X-API-Key": key}}

    assert upload(world, **as_("r")).status_code == 403
    assert upload(world).status_code == 401
    assert upload(world, **as_("w")).status_code == 201
    assert world.client.get("/v1/datasets/sums", **as_("r")).status_code == 200
    assert world.client.get("/v1/datasets", **as_("r")).status_code == 200
    assert world.client.delete("/v1/datasets/sums", **as_("w")).status_code == 403
    assert world.client.delete("/v1/datasets/sums", **as_("a")).status_code == 204


def test_a_disk_that_is_full_is_said_without_a_path(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    answer = upload(world, b"x" * (2 << 20))
    assert answer.status_code == 503
    assert str(tmp_path) not in answer.text


GOOD = {
    "jsonl": PAIRS[:90],
    "squad": b'{"data":[{"title":"t","paragraphs":[{"context":"c","qas":[{"question":"q","answers":[{"text":"c"}]}]}]}]}',
    "gsm8k": b'{"question":"q","answer":"1+1=<<1+1=2>>2\\n#### 2"}\n',
    "deepmind-math": b"What is 1 + 1?\n2\n",
    "text": b"The keeper climbed the long stairs of the tower every evening. Nobody saw the lamp from here, she said.\n",
}
NAMES = ["input", "target", "text", "split", "data", "paragraphs", "context", "qas", "question", "answers", "answer"]
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)


def mutated(data: bytes, *, seed: int) -> bytes:
    """The file with a few bytes changed, cut out or put in."""
    rng = random.Random(seed)
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(changed) + 1)
        piece = rng.choice([b"", b"\0", b"\n", b"\xff", b'"', b"{", b"[", b"\\ud800", b"NaN", b"null", b"1e999", b"\r"])
        changed[at : at + rng.randint(0, 3)] = piece
    return bytes(changed)


@settings(max_examples=60, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(
    format_=st.sampled_from(FORMATS),
    lines=st.lists(JSON_VALUES, max_size=3),
    seed=st.integers(0, 10**6),
    sides=st.tuples(st.none() | st.text(max_size=12), st.none() | st.sampled_from(["{text}", "{a.b}", "{", "{0!r}"])),
    cloze=st.booleans(),
)
def test_no_upload_is_the_servers_fault(
    world: World, format_: str, lines: list[Any], seed: int, sides: tuple[str | None, str | None], cloze: bool
) -> None:
    query = {"format": format_, "name": "fuzz", "cloze": str(cloze and format_ == "text").lower()}
    query |= {
        name: side for name, side in zip(("input", "target"), sides, strict=True) if side is not None and seed % 2
    }
    for data in ("\n".join(map(json.dumps, lines)).encode(), mutated(GOOD[format_], seed=seed)):
        answer = world.client.post(
            "/v1/datasets", params=query, content=data, headers={"Content-Type": "application/octet-stream"}
        )
        assert answer.status_code in (200, 201, 409, 422), answer.text
        if answer.status_code == 201:
            for path in ("/v1/datasets/fuzz?limit=1000", "/v1/datasets/fuzz?input=x&target=y", "/v1/datasets"):
                assert world.client.get(path).status_code == 200
            assert world.client.delete("/v1/datasets/fuzz").status_code == 204
