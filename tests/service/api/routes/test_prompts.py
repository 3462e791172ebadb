from __future__ import annotations

import base64
import io
import json
import zipfile
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from safetensors.numpy import load, save

from service.engine.requests import Failed
from service.errors import InvalidRequest
from service.hosting.ipc.messages import ExportPrompt
from tests.service.api.conftest import CARD, DEMO, STATE, OpenWorld, World

NATIVE = {"Content-Type": "application/vnd.safetensors"}


def vectors(*, n: int = 2, seed: int = 0) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(n, DEMO.d_model)).astype(np.float32)


def native(values: npt.NDArray[Any], **header: Any) -> bytes:
    return save({"soft": values}, metadata={"promptatlas": json.dumps({"kind": "soft", "base": "demo", **header})})


def adapter(values: npt.NDArray[Any], **fields: str) -> bytes:
    config = {"peft_type": "PROMPT_TUNING", "task_type": "CAUSAL_LM", "num_virtual_tokens": len(values), **fields}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("adapter_config.json", json.dumps(config))
        archive.writestr("adapter_model.safetensors", save({"prompt_embeddings": values}))
    return buffer.getvalue()


def upload(world: World, data: bytes, *, name: str = "qa", headers: dict[str, str] = NATIVE, query: str = "") -> Any:
    return world.client.post(f"/v1/prompts?name={name}{query}", content=data, headers=headers)


def test_an_upload_is_a_new_version_and_the_same_again_is_that_version(world: World) -> None:
    first = upload(world, native(vectors(seed=1), notes={"by": "me"}))
    again = upload(world, native(vectors(seed=1)))
    second = upload(world, native(vectors(seed=2)))
    assert [answer.status_code for answer in (first, again, second)] == [201, 200, 201]
    assert [answer.json()["version"] for answer in (first, again, second)] == [1, 1, 2]
    assert first.headers["location"] == again.headers["location"] == "/v1/prompts/qa/versions/1"
    manifest = world.client.get(first.headers["location"]).json()
    assert manifest == first.json()
    assert (manifest["kind"], manifest["n_virtual"], manifest["base"]) == ("soft", 2, "demo")
    assert (manifest["base_revision"], manifest["notes"]) == ("rev-demo", {"by": "me"})
    assert world.client.get("/v1/prompts/qa").json()["version"] == 2


def test_a_soft_prompt_is_exported_as_vectors(world: World) -> None:
    upload(world, native(vectors(seed=1), notes={"by": "me"}))
    answer = world.client.get("/v1/prompts/qa/versions/1/content?format=prompt_embeds")
    assert answer.headers["content-type"] == "application/vnd.safetensors"
    assert 'filename="qa-1-embeds.safetensors"' in answer.headers["content-disposition"]
    (values,) = load(answer.content).values()
    assert values.dtype == np.float32
    np.testing.assert_array_equal(load(answer.content)["prompt_embeds"], vectors(seed=1))
    again = {"model": "demo", "prompt_embeds": base64.b64encode(answer.content).decode()}
    assert world.client.post("/v1/completions", json=again).status_code == 200


def test_other_kinds_are_not_exported_as_vectors(world: World) -> None:
    steering = save(
        {"steering.1": vectors(n=1)[0]}, metadata={"promptatlas": json.dumps({"kind": "steering", "base": "demo"})}
    )
    upload(world, steering)
    answer = world.client.get("/v1/prompts/qa/versions/1/content?format=prompt_embeds")
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(
        "Only soft prompts are vectors in place of token embeddings; this one is steering"
    )


def test_keys_and_values_are_those_of_the_engine(world: World) -> None:
    made = upload(world, native(vectors(seed=1))).json()
    answer = world.client.get("/v1/prompts/qa/versions/1/content?format=kv")
    assert answer.headers["content-type"] == "application/vnd.safetensors"
    assert 'filename="qa-1-kv.safetensors"' in answer.headers["content-disposition"]
    assert sorted(load(answer.content)) == ["keys.0", "values.0"]
    (message,) = world.end.received
    assert isinstance(message, ExportPrompt)
    assert message.model == "demo"
    assert (message.request.prompt.parts, message.request.prompt.refs) == (((made["sha256"], 1.0),), ("qa@1",))
    assert message.metadata == {
        "kind": "soft",
        "base": "demo",
        "base_revision": "rev-demo",
        "n_virtual": 2,
        "sha256": made["sha256"],
        "dtype": "float32",
    }


def test_refusals_of_the_engine_are_answers(world: World) -> None:
    upload(world, native(vectors(seed=1)))
    refused = InvalidRequest("It has none.")
    world.end.export = lambda message: Failed(request_id=message.request.request_id, error=refused)
    answer = world.client.get("/v1/prompts/qa/versions/1/content?format=kv")
    assert (answer.status_code, answer.json()["detail"]) == (422, "It has none.")


@pytest.mark.parametrize(
    ("models", "says"),
    [
        ({"other": {**CARD, "name": "other"}}, "its base model 'demo', which is not hosted here"),
        ({"demo": {**CARD, "revision": "rev-new"}}, "Expected a prompt for revision rev-new of 'demo'"),
    ],
)
def test_keys_and_values_need_the_base_model(world: World, models: dict[str, Any], says: str) -> None:
    upload(world, native(vectors(seed=1)))
    world.engine.on_message(replace(STATE, models=models))
    answer = world.client.get("/v1/prompts/qa/versions/1/content?format=kv")
    assert answer.status_code == 422
    assert says in answer.json()["detail"]
    assert world.client.get("/v1/prompts/qa/versions/1/content?format=prompt_embeds").status_code == 200


def test_keys_and_values_need_an_engine(world: World) -> None:
    upload(world, native(vectors(seed=1)))
    world.engine.on_lost()
    answer = world.client.get("/v1/prompts/qa/versions/1/content?format=kv")
    assert (answer.status_code, "retry-after" in answer.headers) == (503, True)


def test_content_comes_back_in_both_formats(world: World) -> None:
    upload(world, native(vectors(seed=1)))
    url = "/v1/prompts/qa/versions/1/content"
    answer = world.client.get(url)
    assert answer.headers["content-type"] == "application/vnd.safetensors"
    np.testing.assert_array_equal(load(answer.content)["soft"], vectors(seed=1))
    zipped = world.client.get(f"{url}?format=peft")
    assert zipped.headers["content-type"] == "application/zip"
    assert 'filename="qa-1.zip"' in zipped.headers["content-disposition"]
    with zipfile.ZipFile(io.BytesIO(zipped.content)) as archive:
        exported = load(archive.read("adapter_model.safetensors"))
    np.testing.assert_array_equal(exported["prompt_embeddings"], vectors(seed=1))
    assert world.client.get(f"{url}?format=pickle").status_code == 422


def test_an_adapter_type_can_be_chosen(world: World) -> None:
    upload(world, native(vectors(seed=1)))
    url = "/v1/prompts/qa/versions/1/content"
    zipped = world.client.get(f"{url}?format=peft&peft_type=CPT")
    with zipfile.ZipFile(io.BytesIO(zipped.content)) as archive:
        assert json.loads(archive.read("adapter_config.json"))["peft_type"] == "CPT"
    for query in ("format=peft&peft_type=CARTRIDGE", "format=peft&peft_type=LORA", "peft_type=CPT"):
        answer = world.client.get(f"{url}?{query}")
        assert (answer.status_code, answer.json()["errors"][0]["loc"][-1]) == (422, "peft_type")


def test_a_task_needs_a_multitask_adapter(world: World) -> None:
    for data, query in ((native(vectors(seed=1)), "&task=0"), (adapter(vectors(seed=3)), "&base=demo&task=0")):
        answer = upload(world, data, headers={"Content-Type": "application/octet-stream"}, query=query)
        assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (422, ["task"])


@pytest.mark.parametrize("kind", ["application/zip", "application/octet-stream"])
def test_a_zip_is_an_adapter(world: World, kind: str) -> None:
    # Two hosted models have this shape, so the base must be named.
    answer = upload(world, adapter(vectors(seed=3)), headers={"Content-Type": kind}, query="&base=demo")
    assert answer.status_code == 201
    unnamed = upload(world, adapter(vectors(seed=3)), headers={"Content-Type": kind})
    assert unnamed.status_code == 422
    assert unnamed.json()["errors"][0]["loc"] == ["base"]


@pytest.mark.parametrize(
    ("named", "n_warnings"), [("gpt2-xl", 1), ("org/demo-2", 1), ("demo", 0), ("org/demo", 0), ("models/demo/", 0)]
)
def test_an_adapter_of_another_model_is_stored_with_a_warning(world: World, named: str, n_warnings: int) -> None:
    data = adapter(vectors(seed=4), base_model_name_or_path=named)
    answer = upload(world, data, headers={"Content-Type": "application/zip"}, query="&base=demo")
    assert answer.status_code == 201
    warnings = answer.json().get("warnings", [])
    assert len(warnings) == n_warnings
    assert all(repr(named) in warning and "'demo'" in warning for warning in warnings)
    manifest = world.client.get(answer.headers["location"]).json()
    assert manifest["notes"]["base_model_name_or_path"] == named
    assert "warnings" not in manifest


@pytest.mark.parametrize(
    ("data", "query", "status"),
    [
        (b"", "", 422),
        (b"no safetensors", "", 422),
        (native(np.full((2, 5), np.nan, np.float32)), "", 422),
        (native(np.ones((2, 4), np.float32)), "", 422),
        (native(np.ones((2, 5), np.float32), base="nope"), "", 422),
        (native(np.ones((2, 5), np.float32), base_revision="else"), "", 422),
        (native(np.ones((2, 5), np.float32)), "&base=nope", 404),
    ],
)
def test_a_bad_upload_stores_nothing(world: World, data: bytes, query: str, status: int) -> None:
    answer = upload(world, data, query=query)
    assert answer.status_code == status
    assert world.client.get("/v1/prompts").json()["data"] == []


@pytest.mark.parametrize("name", ["", "Upper", "sp ace", "a" * 65, "../up"])
def test_names_have_a_form(world: World, name: str) -> None:
    assert upload(world, native(vectors()), name=name).status_code == 422
    assert world.client.post("/v1/prompts", content=b"", headers=NATIVE).status_code == 422


def test_other_types_are_refused(world: World) -> None:
    assert upload(world, b"{}", headers={"Content-Type": "application/json"}).status_code == 415


def test_the_list_has_a_row_a_name_and_pages(world: World) -> None:
    for name in ("c", "a", "b"):
        upload(world, native(vectors()), name=name)
    page = world.client.get("/v1/prompts?limit=2").json()
    assert [row["name"] for row in page["data"]] == ["a", "b"]
    assert page["has_more"]
    rest = world.client.get(f"/v1/prompts?limit=2&after={page['next']}").json()
    assert [row["name"] for row in rest["data"]] == ["c"]
    assert (rest["has_more"], rest["next"]) == (False, None)
    assert rest["data"][0] == {
        "name": "c",
        "latest": 1,
        "versions": [1],
        "kind": "soft",
        "base": "demo",
        "aliases": {},
        "manifest": None,
    }
    assert world.client.get("/v1/prompts?limit=0").status_code == 422


def test_the_list_includes_manifests_on_request(world: World) -> None:
    for seed in (1, 2):
        upload(world, native(vectors(seed=seed)), name="a")
    upload(world, native(vectors()), name="b")
    rows = world.client.get("/v1/prompts?manifests=true").json()["data"]
    assert [row["manifest"]["version"] for row in rows] == [2, 1]
    assert [row["manifest"] for row in rows] == [world.client.get(f"/v1/prompts/{name}").json() for name in "ab"]


def test_versions_are_listed_newest_first(world: World) -> None:
    for seed in (1, 2, 3):
        upload(world, native(vectors(seed=seed)))
    page = world.client.get("/v1/prompts/qa/versions?limit=2").json()
    assert [row["version"] for row in page["data"]] == [3, 2]
    assert page["next"] == "2"


def test_an_aliased_version_cannot_be_deleted_until_the_alias_is_gone(world: World) -> None:
    upload(world, native(vectors()))
    alias = world.client.put("/v1/prompts/qa/aliases/live", json={"version": 1})
    assert alias.json() == {"name": "qa", "alias": "live", "version": 1}
    refused = world.client.delete("/v1/prompts/qa/versions/1")
    assert refused.status_code == 409
    assert "qa@live" in refused.json()["detail"]
    assert world.client.delete("/v1/prompts/qa/aliases/live").status_code == 204
    assert world.client.delete("/v1/prompts/qa/versions/1").status_code == 204
    assert world.client.get("/v1/prompts/qa/versions/1").status_code == 404
    assert world.client.delete("/v1/prompts/qa/versions/1").status_code == 404


@pytest.mark.parametrize(("body", "status"), [({"version": 7}, 404), ({"version": 0}, 422), ({}, 422)])
def test_an_alias_needs_a_version_that_is_there(world: World, body: Any, status: int) -> None:
    upload(world, native(vectors()))
    assert world.client.put("/v1/prompts/qa/aliases/live", json=body).status_code == status


@pytest.mark.parametrize("path", ["/v1/prompts/none", "/v1/prompts/none/versions", "/v1/prompts/none/versions/1"])
def test_what_is_not_there_is_not_found(world: World, path: str) -> None:
    assert world.client.get(path).status_code == 404


def test_an_upload_sent_again_under_its_key_is_answered_as_before(world: World) -> None:
    headers = {**NATIVE, "Idempotency-Key": "once"}
    first = upload(world, native(vectors(seed=1)), headers=headers)
    world.client.delete("/v1/prompts/qa/versions/1")
    again = upload(world, native(vectors(seed=1)), headers=headers)
    assert (again.status_code, again.json(), again.headers["location"]) == (
        201,
        first.json(),
        first.headers["location"],
    )
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    assert world.client.get("/v1/prompts/qa/versions/2").status_code == 404
    other = upload(world, native(vectors(seed=2)), headers=headers)
    assert other.status_code == 409


def test_a_key_is_free_again_after_a_failure(world: World) -> None:
    headers = {**NATIVE, "Idempotency-Key": "once"}
    assert upload(world, b"bad", headers=headers).status_code == 422
    assert upload(world, native(vectors()), headers=headers).status_code == 201


def test_uploads_need_to_know_the_models(open_world: OpenWorld) -> None:
    answer = upload(open_world(ready=False), native(vectors()))
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) >= 1
