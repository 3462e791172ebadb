from __future__ import annotations

from tests.service.api.conftest import OpenWorld, World
from tests.service.api.routes.test_prompts import native, upload, vectors


def test_the_list_has_bases_and_the_prompts_on_them(world: World) -> None:
    created = upload(world, native(vectors())).json()
    body = world.client.get("/v1/models").json()
    assert body["object"] == "list"
    assert [entry["id"] for entry in body["data"]] == ["demo", "other", "demo:qa"]
    base, _, prompt = body["data"]
    assert (base["parent"], base["root"], base["object"]) == (None, "demo", "model")
    assert (prompt["parent"], prompt["root"]) == ("demo", "demo")
    assert prompt["created"] > 0
    assert created["created_at"].startswith("20")


def test_a_model_is_described_in_full(world: World) -> None:
    upload(world, native(vectors()))
    card = world.client.get("/v1/models/demo").json()
    assert (card["n_layers"], card["d_model"], card["n_kv_heads"], card["revision"]) == (3, 5, 1, "rev-demo")
    assert card["sites"] == ["embed", "resid_post"]
    tuned = world.client.get("/v1/models/demo:qa@1").json()
    assert (tuned["id"], tuned["parent"], tuned["root"]) == ("demo:qa@1", "demo", "demo")
    assert tuned["n_layers"] == 3


def test_unknown_models_are_not_found(world: World) -> None:
    for name in ("nope", "demo:nope"):
        assert world.client.get(f"/v1/models/{name}").status_code == 404


def test_models_are_known_once_an_engine_was_ready_even_when_it_is_lost(open_world: OpenWorld) -> None:
    world = open_world(ready=False)
    assert world.client.get("/v1/models").status_code == 503
    world = open_world()
    world.engine.on_lost()
    assert world.client.get("/v1/models").status_code == 200
