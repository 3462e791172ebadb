"""Requests under posteriors: the member that a seed draws, and ensembles."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
from promptatlas.types import NormalDraws

from service.engine.inputs import PromptChoice
from service.store.prompts.manifests import PromptManifest
from service.store.prompts.native_format import make_normal_posterior, make_posterior
from tests.service.api.conftest import DEMO, World
from tests.service.api.requests.test_prompt_resolution import chosen, complete, put

N_MEMBERS = 5


def put_posterior(world: World, name: str = "qa") -> PromptManifest:
    values = np.random.default_rng(3).normal(size=(N_MEMBERS, 2, DEMO.d_model)).astype(np.float32)
    return world.services.prompts.create(name, prompt=make_posterior("soft", tensors={"soft": values}, base=DEMO))[0]


@pytest.mark.parametrize("seed", [0, 1, 12345, -7])
def test_a_seed_draws_one_member(world: World, seed: int) -> None:
    manifest = put_posterior(world)
    digest = hashlib.blake2b(f"posterior/{seed}".encode(), digest_size=8).digest()
    index = int.from_bytes(digest, "little") % N_MEMBERS
    response = complete(world, prompt_ref="qa@1", seed=seed)
    assert chosen(world) == PromptChoice(parts=((f"{manifest.sha256}#{index}", 1.0),))
    assert manifest.members is not None
    assert response.json()["prompt"]["member"] == index
    assert response.json()["prompt"]["sha256"] == manifest.members[index]


def test_without_a_seed_some_member_is_drawn(world: World) -> None:
    manifest = put_posterior(world)
    complete(world, prompt_ref="qa")
    choice = chosen(world)
    assert choice is not None
    assert choice.parts[0][0] in {f"{manifest.sha256}#{i}" for i in range(N_MEMBERS)}


@pytest.mark.parametrize("n", [None, 1, 3])
def test_an_ensemble_has_the_first_members(world: World, n: int | None) -> None:
    manifest = put_posterior(world)
    response = complete(world, prompt_ref={"ensemble": "qa@1"} | ({} if n is None else {"n": n}))
    choice = chosen(world)
    assert choice is not None
    assert choice.is_ensemble
    expected = tuple((f"{manifest.sha256}#{i}", 1.0) for i in range(n or N_MEMBERS))
    assert choice.parts == expected
    assert len(response.json()["prompt"]["parts"]) == len(expected)


def test_a_list_has_prompts_and_members(world: World) -> None:
    manifest, alone = put_posterior(world), put(world, "alone", seed=9)
    complete(world, prompt_ref={"ensemble": ["alone", "qa"], "n": 3})
    choice = chosen(world)
    assert choice is not None
    contents = [content for content, _ in choice.parts]
    assert contents == [alone.sha256, f"{manifest.sha256}#0", f"{manifest.sha256}#1"]


def put_normal(world: World, name: str = "normal") -> PromptManifest:
    generator = np.random.default_rng(3)
    tensors = {
        "mean.soft": generator.normal(size=(2, DEMO.d_model)),
        "std.soft": np.array([0.1]),
        "directions.soft": generator.normal(size=(1, 2, DEMO.d_model)),
        "curvatures": np.array([2.0]),
    }
    file = make_normal_posterior("soft", tensors=tensors, draws=NormalDraws(n_draws=4, seed=1), base=DEMO)
    return world.services.prompts.create(name, prompt=file)[0]


@pytest.mark.parametrize("seed", [0, 12345, -7])
def test_a_seed_draws_from_a_normal_distribution(world: World, seed: int) -> None:
    """Every seed has its own draw, whose number the response names."""
    manifest = put_normal(world)
    digest = hashlib.blake2b(f"posterior/{seed}".encode(), digest_size=8).digest()
    index = int.from_bytes(digest, "little") % 2**53
    response = complete(world, prompt_ref="normal@1", seed=seed)
    assert chosen(world) == PromptChoice(parts=((f"{manifest.sha256}#{index}", 1.0),))
    used = response.json()["prompt"]
    assert (used["member"], used["sha256"], used["kind"]) == (index, manifest.sha256, "soft")


@pytest.mark.parametrize(("n", "expected"), [(None, 4), (2, 2), (9, 9)])
def test_an_ensemble_averages_any_number_of_draws(world: World, n: int | None, expected: int) -> None:
    manifest = put_normal(world)
    response = complete(world, prompt_ref={"ensemble": "normal"} | ({} if n is None else {"n": n}))
    choice = chosen(world)
    assert choice is not None
    assert [content for content, _ in choice.parts] == [f"{manifest.sha256}#{i}" for i in range(expected)]
    assert [part["ref"] for part in response.json()["prompt"]["parts"]] == [manifest.sha256] * expected


def test_a_distribution_in_a_list_has_its_default_number_of_draws(world: World) -> None:
    manifest, alone = put_normal(world), put(world, "alone", seed=9)
    complete(world, prompt_ref={"ensemble": ["normal", "alone"], "n": 5})
    choice = chosen(world)
    assert choice is not None
    assert [content for content, _ in choice.parts] == [*(f"{manifest.sha256}#{i}" for i in range(4)), alone.sha256]


def test_responses_under_one_prompt_do_not_name_it(world: World) -> None:
    put(world, "alone")
    assert "prompt" not in complete(world, prompt_ref="alone").json()


@pytest.mark.parametrize(
    ("ref", "message"),
    [
        ({"ensemble": "qa", "n": 6}, "at most 5"),
        ({"mix": [{"ref": "qa", "weight": 1.0}]}, "a posterior of 5 prompts"),
        ({"ensemble": []}, "at least 1"),
    ],
)
def test_other_uses_are_refused(world: World, ref: dict[str, Any], message: str) -> None:
    put_posterior(world)
    response = complete(world, prompt_ref=ref)
    assert response.status_code in (400, 422)
    assert message in response.text


def test_routes_of_one_prompt_refuse_a_posterior(world: World) -> None:
    put_posterior(world)
    found = world.client.get("/v1/prompts/qa").json()
    assert (found["kind"], found["member_kind"], len(found["members"])) == ("posterior", "soft", N_MEMBERS)
    assert world.client.get("/v1/prompts").json()["data"][0]["kind"] == "posterior"
    for path in ("content?format=peft", "content?format=prompt_embeds"):
        response = world.client.get(f"/v1/prompts/qa/versions/1/{path}")
        assert response.status_code == 422
        assert "a posterior of 5 prompts" in response.text
    assert world.client.get("/v1/prompts/qa/versions/1/content").status_code == 200
