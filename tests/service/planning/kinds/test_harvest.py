from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from service.errors import AtlasError, InvalidRequest, NotFound
from service.planning.context import PlanningContext
from service.planning.encoder_decoders import EncoderDecoderConfigs
from service.planning.run_kinds import Plan, plan
from service.settings import ModelSource
from tests.service.planning.planning_world import planning_context

SITES = ["embed", "resid_pre", "resid_post", "attn_probs", "logits", "model.layers.0.mlp.up_proj"]


class FakeMaps:
    """One map, of layer 2."""

    def linear_basis(self, map_id: str, *, layers: Sequence[int] | None, loc: tuple[str | int, ...]) -> object:
        if map_id != "run-map":
            raise NotFound("no map", loc=loc)
        if layers != [2]:
            raise InvalidRequest("other layers", loc=loc)
        return object()


@pytest.fixture
def context(tmp_path: Path) -> PlanningContext:
    config = {
        "model_type": "t5",
        "num_layers": 3,
        "num_decoder_layers": 2,
        "d_model": 8,
        "vocab_size": 50,
        "n_positions": 512,
    }
    write_config(tmp_path / "t5", config)
    write_config(tmp_path / "even", {**config, "num_decoder_layers": None})
    write_config(tmp_path / "bart", {"model_type": "bart"})
    sources = [ModelSource(name=name, path=str(tmp_path / name)) for name in ("t5", "even", "bart", "gone")]
    return replace(
        planning_context(sites=SITES),
        maps=FakeMaps(),
        read_models=EncoderDecoderConfigs(sources),
        max_harvest_bytes=100_000,
    )


def write_config(folder: Path, config: dict[str, Any]) -> None:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))


def planned(context: PlanningContext, **changes: Any) -> Plan:
    return plan("harvest", {"model": "demo", "dataset": "qa", **changes}, context=context)


def test_layers_are_counted_from_0_and_prompts_pinned(context: PlanningContext) -> None:
    mix = {"mix": [{"ref": "soft", "weight": 0.5}, {"ref": "soft2", "weight": 0.5}]}
    found = planned(context, layers=[0, -1], prompt_ref=mix)
    assert found.spec["layers"] == [0, 4]
    assert [part["ref"] for part in found.spec["prompt_ref"]["mix"]] == ["soft@3", "soft2@3"]
    assert found.resolved["prompts"] == {"soft@3": "sha256:soft", "soft2@3": "sha256:soft2"}
    assert found.resolved["base_revision"] == "rev-demo"
    assert found.spec["shard_bytes"] == 64 << 20
    assert planned(context, prompt_ref="soft").spec["prompt_ref"] == "soft@3"
    concat = planned(context, prompt_ref={"concat": ["soft2", "soft"]})
    assert concat.spec["prompt_ref"] == {"concat": ["soft2@3", "soft@3"]}
    assert concat.resolved["prompts"] == {"soft@3": "sha256:soft", "soft2@3": "sha256:soft2"}


@pytest.mark.parametrize(
    ("changes", "estimate"),
    [
        ({"reduce": "mean"}, {"n_texts": 70, "n_rows": 70, "bytes": 70 * 5 * 7 * 4}),
        ({"reduce": "norm", "positions": "last", "split": "test"}, {"n_texts": 10, "n_rows": 10, "bytes": 10 * 5 * 4}),
        ({"n": 3, "positions": [0, -1], "layers": [1]}, {"n_texts": 3, "n_rows": 6, "bytes": 6 * 7 * 4}),
        ({"n": 3, "sites": ["logits"], "positions": "last", "dtype": "float16"}, {"n_rows": 3, "bytes": 3 * 97 * 2}),
        ({"model": "t5", "sites": ["encoder.resid_post"], "reduce": "mean"}, {"n_rows": 70, "bytes": 70 * 3 * 8 * 4}),
    ],
)
def test_an_estimate_is_noted(context: PlanningContext, changes: Any, estimate: dict[str, int]) -> None:
    found = planned(context, **changes).resolved["estimate"]
    assert {name: found[name] for name in estimate} == estimate


def test_tokens_are_estimated_from_bytes(context: PlanningContext) -> None:
    context.datasets._infos["qa"] = replace(context.datasets.get("qa"), n_bytes=70 * 400)  # type: ignore[attr-defined]
    assert planned(context, layers=[0], n=10).resolved["estimate"] == {
        "n_texts": 10,
        "n_tokens": 1000,
        "n_rows": 1000,
        "bytes": 1000 * 7 * 4,
    }
    assert planned(context, layers=[0], n=10, max_tokens=5).resolved["estimate"]["n_rows"] == 50
    assert planned(context, layers=[0], n=10, positions={"start": 90}).resolved["estimate"]["n_rows"] == 100


def test_what_only_the_run_can_know_is_left_out_of_the_estimate(context: PlanningContext) -> None:
    for changes in ({"sites": ["attn_probs"]}, {"sites": ["model.layers.0.mlp.up_proj"]}):
        assert "bytes" not in planned(context, **changes).resolved["estimate"]


@pytest.mark.parametrize(
    ("changes", "loc"),
    [
        ({"model": "nope"}, ("model",)),
        ({"dataset": "nope"}, ("dataset",)),
        ({"dataset": "train-only", "split": "test"}, ("split",)),
        ({"template": {"input": "{x}", "target": ""}}, ("template", "input")),
        ({"sites": ["resid_post", "nope"]}, ("sites", 1)),
        ({"layers": [0, 5]}, ("layers", 1)),
        ({"prompt_ref": "foreign"}, ("prompt_ref",)),
        (
            {"prompt_ref": {"mix": [{"ref": "soft", "weight": 1}, {"ref": "deep", "weight": 1}]}},
            ("prompt_ref", "mix", 1),
        ),
        ({"prompt_ref": {"concat": ["soft", "deep"]}}, ("prompt_ref", "concat")),
        ({"prompt_ref": {"concat": ["soft", "nope"]}}, ("prompt_ref", "concat", 1)),
        ({"max_tokens": 65}, ("max_tokens",)),
        ({"prompt_ref": "soft", "max_tokens": 61}, ("max_tokens",)),
        ({"format": "parquet", "dtype": "bfloat16"}, ("dtype",)),
        ({"reduce": {"project": "nope"}}, ("reduce", "project")),
        ({"reduce": {"project": "run-map"}}, ("reduce", "project")),
        ({"shard_bytes": 10}, ("shard_bytes",)),
        ({"sites": ["logits"], "positions": list(range(16))}, ("sites",)),
        ({"model": "t5"}, ("sites", 0)),
        ({"model": "t5", "sites": ["encoder.resid_post"], "layers": [3]}, ("layers", 0)),
        ({"model": "t5", "sites": ["encoder.embed", "decoder.embed"]}, ("sites",)),
        ({"model": "t5", "sites": ["encoder.embed"], "prompt_ref": "soft"}, ("prompt_ref",)),
        ({"model": "t5", "sites": ["encoder.embed"], "reduce": {"project": "run-map"}}, ("reduce", "project")),
        ({"model": "t5", "sites": ["encoder.embed"], "max_tokens": 513}, ("max_tokens",)),
        ({"model": "t5", "sites": ["encoder.embed.1"]}, ("sites", 0)),
        ({"model": "bart", "sites": ["encoder.embed"]}, ("model",)),
        ({"model": "gone", "sites": ["encoder.embed"]}, ("model",)),
    ],
)
def test_what_cannot_work_is_refused(context: PlanningContext, changes: Any, loc: tuple[str | int, ...]) -> None:
    with pytest.raises(AtlasError) as caught:
        planned(context, **changes)
    assert caught.value.loc == ("spec", *loc)


def test_what_just_fits(context: PlanningContext) -> None:
    assert planned(context, prompt_ref="soft", max_tokens=60).spec["max_tokens"] == 60
    assert planned(context, reduce={"project": "run-map"}, layers=[-3]).spec["layers"] == [2]
    # 70 texts × 16 positions × 97 numbers of 2 bytes would be too much; 7 positions are not.
    planned(context, sites=["logits"], positions=list(range(7)), dtype="float16")


def test_layers_of_an_encoder_decoder(context: PlanningContext) -> None:
    assert planned(context, model="t5", sites=["decoder.resid_post"], layers=[-1]).spec["layers"] == [1]
    both = ["encoder.resid_post", "decoder.resid_post"]
    assert planned(context, model="even", sites=both, layers=[-1], reduce="mean").spec["layers"] == [2]
    # The last layer of each side: no one number says it.
    assert planned(context, model="t5", sites=both, layers=[-1], reduce="mean").spec["layers"] == [-1]
    assert planned(context, model="t5", sites=["encoder.embed"]).resolved["base_revision"] is None
