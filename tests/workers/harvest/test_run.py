"""Whole harvests on one worker, held against plain transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from promptatlas.types import HarvestManifest

from service.engine.requests import CaptureSpec
from service.errors import Conflict, DamagedArtifact, InvalidRequest, NotFound
from service.settings import Settings
from service.store.artifacts.tensor_codec import encode
from service.store.maps.store import MAP, MapFacts, basis_path
from service.store.runs.store import RunStore
from tests.oracle.prompts import OraclePrompt
from tests.oracle.runs import oracle_states
from tests.workers.evaluation.fake_run import Killed
from tests.workers.harvest.field import LENGTHS, FakeCoordinator, Field, header_of, ids_of, text_of, words_of
from workers.harvest.run import harvest
from workers.harvest.shards.plan import PlanFile
from workers.running.interface import RunStopped

N = len(LENGTHS)


def expected(field: Field, ids: tuple[int, ...], *, prompt: str | None = None) -> dict[str, torch.Tensor]:
    """Every site's states of a text, from plain transformers; under a prompt those of its virtual positions first."""
    world = field.world
    chosen = None if prompt is None else world.prompts[prompt]
    return oracle_states(world.model, world.parts, ids, chosen)


def stacked(field: Field, site: str, *, texts: range = range(N)) -> torch.Tensor:
    return torch.cat([expected(field, ids_of(i))[site] for i in texts])


def close(got: Any, wanted: torch.Tensor, *, atol: float = 1e-5) -> None:
    np.testing.assert_allclose(np.asarray(got), wanted.numpy(), rtol=1e-4, atol=atol)


def test_states_of_tokens_are_those_of_transformers(field: Field, tmp_path: Path) -> None:
    run = field.run(sites=["resid_post", "embed", "final_norm"], layers=[0, -1])
    metrics = harvest(run)
    table = field.table(tmp_path)
    for site in ("resid_post.0", "resid_post.2", "embed", "final_norm"):
        close(table[site], stacked(field, site), atol=1e-4)
    lengths = [len(ids_of(i)) for i in range(N)]
    np.testing.assert_array_equal(table["text_index"], np.repeat(np.arange(N), lengths))
    np.testing.assert_array_equal(table["record"], table["text_index"])
    assert table["position"].tolist() == [k for n in lengths for k in range(n)]
    assert table["token_id"].tolist() == [token for i in range(N) for token in ids_of(i)]
    assert table["token"] == [f"t{token}" for token in table["token_id"]]
    assert not table["added"].any()
    texts = [text_of(ids_of(i)) for i in range(N)]
    assert table["text"] == [texts[i] for i in table["text_index"]]
    tasks = [None if i % 4 == 3 else "ab"[i % 2] for i in range(N)]
    assert table["task"] == [tasks[i] for i in table["text_index"]]
    assert table["split"] == ["test" if i % 3 == 2 else "train" for i in table["text_index"]]
    n_rows = sum(lengths)
    assert {name: metrics[name] for name in ("n_texts", "n_rows", "n_tokens", "n_dropped", "n_shards")} == {
        "n_texts": N,
        "n_rows": n_rows,
        "n_tokens": n_rows,
        "n_dropped": 0,
        "n_shards": 1,
    }
    assert run.steps[-1] == (n_rows, n_rows)
    assert run.tallied == {"harvest_rows": n_rows}


def test_the_manifest_says_what_there_is(field: Field) -> None:
    run = field.run(split="test", n=2, prompt_ref="soft", reduce="mean")
    metrics = harvest(run)
    manifest = HarvestManifest.model_validate_json(run.outputs["manifest.json"])
    assert (manifest.model, manifest.prompt, manifest.split) == ("small", "soft@1", "test")
    assert manifest.revision == field.world.hosted.card.revision
    assert manifest.dataset_sha256 == field.datasets.get("words").sha256
    assert (manifest.rows, manifest.tensors) == ("text", {"resid_post.0": [56]})
    assert (manifest.n_texts, manifest.n_rows, manifest.n_dropped) == (2, 2, 0)
    [shard] = manifest.shards
    [output] = field.outputs().all()
    assert (shard.path, shard.n_bytes, shard.sha256) == (output.path, output.n_bytes, output.sha256)
    assert (shard.first_text, shard.n_texts, metrics["n_bytes"]) == (0, 2, output.n_bytes)
    assert json.loads(run.outputs["spec.json"])["split"] == "test"


def test_a_text_becomes_its_mean(field: Field, tmp_path: Path) -> None:
    harvest(field.run(reduce="mean", include_target=False))
    table = field.table(tmp_path)
    close(table["resid_post.0"], torch.stack([expected(field, words_of(i))["resid_post.0"].mean(0) for i in range(N)]))
    assert table["text"] == [text_of(words_of(i)) for i in range(N)]
    assert set(table) == {"resid_post.0", "text_index", "record", "split", "task", "text"}


@pytest.mark.parametrize(
    ("positions", "chosen"),
    [
        ("last", lambda n: [n - 1]),
        ([-1, 0], lambda n: [n - 1, 0]),
        ({"start": 2, "stop": -1}, lambda n: list(range(2, n - 1))),
    ],
)
def test_positions(field: Field, tmp_path: Path, positions: Any, chosen: Any) -> None:
    metrics = harvest(field.run(positions=positions, reduce="norm"))
    table = field.table(tmp_path)
    kept = [(i, at) for i in range(N) for at in chosen(len(ids_of(i)))]
    assert list(zip(table["text_index"].tolist(), table["position"].tolist(), strict=True)) == [
        (list(dict.fromkeys(i for i, _ in kept)).index(i), at) for i, at in kept
    ]
    assert table["record"].tolist() == [i for i, _ in kept]
    norms = [expected(field, ids_of(i))["resid_post.0"][at].norm() for i, at in kept]
    close(table["resid_post.0"], torch.stack(norms))
    # Texts of two or three tokens have nothing in the slice.
    assert metrics["n_dropped"] == N - len({i for i, _ in kept})


@pytest.mark.parametrize("kind", ["soft", "deep-local", "prefix"])
def test_states_under_a_prompt(field: Field, tmp_path: Path, kind: str) -> None:
    harvest(field.run(prompt_ref=f"{kind}@1", layers=[2]))
    parts = [expected(field, ids_of(i), prompt=kind)["resid_post.2"][-len(ids_of(i)) :] for i in range(N)]
    close(field.table(tmp_path)["resid_post.2"], torch.cat(parts), atol=1e-4)


def test_a_mix_of_one_prompt_with_itself_is_that_prompt(field: Field, tmp_path: Path) -> None:
    mix = {"mix": [{"ref": "soft@1", "weight": 0.25}, {"ref": "other@1", "weight": 0.75}]}
    run = field.run(prompt_ref=mix, layers=[2], n=3)
    harvest(run)
    parts = [expected(field, ids_of(i), prompt="soft")["resid_post.2"][-len(ids_of(i)) :] for i in range(3)]
    close(field.table(tmp_path)["resid_post.2"], torch.cat(parts), atol=1e-4)
    assert json.loads(run.outputs["manifest.json"])["prompt"] == "0.25·soft@1 + 0.75·other@1"


def test_states_under_prompts_one_after_the_other(field: Field, tmp_path: Path) -> None:
    run = field.run(prompt_ref={"concat": ["soft-short@1", "soft@1"]}, layers=[2], n=3)
    harvest(run)
    world = field.world
    vectors = torch.cat([world.prompts[name].tensors["soft"] for name in ("soft-short", "soft")])
    both = OraclePrompt("soft", {"soft": vectors})
    states = [oracle_states(world.model, world.parts, ids_of(i), both)["resid_post.2"] for i in range(3)]
    parts = [each[len(vectors) :] for each in states]
    close(field.table(tmp_path)["resid_post.2"], torch.cat(parts), atol=1e-4)
    assert json.loads(run.outputs["manifest.json"])["prompt"] == "soft-short@1 then soft@1"


def test_patterns_of_attention_are_as_wide_as_the_longest_text(field: Field, tmp_path: Path) -> None:
    run = field.run(sites=["attn_probs"], layers=[1], shard_bytes=4096)
    assert harvest(run)["n_shards"] > 2
    widest = max(len(ids_of(i)) for i in range(N))
    rows = field.table(tmp_path)["attn_probs.1"]
    wanted = [expected(field, ids_of(i))["attn_probs.1"] for i in range(N)]
    close(rows, torch.cat([torch.nn.functional.pad(part, (0, widest - part.shape[-1])) for part in wanted]))
    assert json.loads(run.outputs["manifest.json"])["tensors"] == {"attn_probs.1": [4, widest]}


def test_means_of_attention_patterns_are_over_the_keys_of_the_longest_text(field: Field, tmp_path: Path) -> None:
    harvest(field.run(sites=["attn_probs"], layers=[1], reduce="mean"))
    rows = field.table(tmp_path)["attn_probs.1"]
    for i in range(N):
        wanted = expected(field, ids_of(i))["attn_probs.1"].mean(0)
        n_keys = wanted.shape[-1]
        np.testing.assert_allclose(rows[i, :, :n_keys], wanted, atol=1e-5)
        assert not rows[i, :, n_keys:].any()


def test_bfloat16(field: Field, tmp_path: Path) -> None:
    harvest(field.run(dtype="bfloat16", n=2))
    table = field.table(tmp_path)
    assert table["resid_post.0"].dtype == torch.bfloat16
    torch.testing.assert_close(
        table["resid_post.0"].float(), stacked(field, "resid_post.0", texts=range(2)), rtol=1e-2, atol=1e-2
    )


def test_rows_are_projected_by_a_map(field: Field, tmp_path: Path) -> None:
    generator = np.random.default_rng(3)
    mean, components = (generator.normal(size=shape).astype(np.float32) for shape in ((56,), (2, 56)))
    map_id = put_map(field, mean=mean, components=components)
    harvest(field.run(reduce={"project": map_id}, layers=[1], sites=["resid_pre"]))
    wanted = (stacked(field, "resid_pre.1") - torch.from_numpy(mean)) @ torch.from_numpy(components).T
    close(field.table(tmp_path)["resid_pre.1"], wanted, atol=1e-4)


def put_map(field: Field, *, mean: np.ndarray, components: np.ndarray) -> str:
    runs = RunStore(field.artifacts)
    writer = runs.claim(runs.create("map", spec={}).id, worker="w")
    writer.put_output(basis_path(1), encode({"mean": mean, "components": components}))
    facts = MapFacts(
        model="small",
        revision="r",
        method="pca",
        n_components=2,
        layers=[1],
        sources=[],
        n_points=40,
        quality=[],
        added=[0, 0],
        max_tokens=9,
    )
    writer.put_output(MAP, facts.to_bytes())
    return writer.record.id


def test_parquet_holds_the_same(field: Field, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    spec: dict[str, Any] = {"sites": ["resid_post", "attn_probs"], "layers": [1], "n": 5}
    harvest(field.run(**spec))
    wanted = field.table(tmp_path)
    harvest(field.run(run_id="run-2", format="parquet", **spec))
    [output] = field.outputs("run-2").all()
    assert output.path == "shards/00000.parquet"
    (tmp_path / "a.parquet").write_bytes(field.outputs("run-2").read(output.path))
    found = parquet.read_table(tmp_path / "a.parquet")
    assert sorted(found.column_names) == sorted(wanted)
    for name, values in wanted.items():
        if isinstance(values, list):
            assert found[name].to_pylist() == values
        else:
            got = np.array(found[name].to_pylist())
            np.testing.assert_array_equal(got.reshape(values.shape), values)
    assert found.schema.field("resid_post.1").type.list_size == 56
    assert json.loads(found.schema.metadata[b"promptatlas"])["run_id"] == "run-2"


def test_texts_that_are_too_long_are_left_out_or_cut(field: Field, tmp_path: Path) -> None:
    rows = [{"text": text_of([5] * n)} for n in (130, 4, 128, 129, 0)]
    field.upload("long", rows[:4])
    run = field.run(dataset="long", reduce="mean")
    assert harvest(run)["n_dropped"] == 2
    assert field.table(tmp_path)["record"].tolist() == [1, 2]
    assert "2 of 4 texts are left out" in run.warnings()[0]
    cut = field.run(run_id="run-2", dataset="long", max_tokens=3)
    assert harvest(cut)["n_dropped"] == 0
    assert field.table(tmp_path, "run-2")["position"].tolist() == [0, 1, 2] * 4
    # Beside a prompt there is less room.
    under = field.run(run_id="run-3", dataset="long", prompt_ref="soft", reduce="mean")
    assert harvest(under)["n_dropped"] == 3


def test_nothing_to_read_is_an_error(field: Field) -> None:
    with pytest.raises(
        InvalidRequest, match=r"none of the .* fits the model's context and has the requested positions"
    ):
        harvest(field.run(positions=[40]))


def test_more_than_the_server_keeps_is_refused_before_anything_is_read(field: Field) -> None:
    run = field.run()
    run.settings = Settings(max_harvest_bytes=2048)
    with pytest.raises(InvalidRequest, match=r"would have 20\.2 KiB; the limit of this server is 2\.0 KiB"):
        harvest(run)
    assert field.outputs().all() == []


def test_the_cost_is_told_before(field: Field) -> None:
    run = field.run(shard_bytes=4096)
    metrics = harvest(run)
    told = run.points[0, None]
    assert told["n_rows"] == metrics["n_rows"]
    assert told["n_shards"] == metrics["n_shards"] > 2
    assert told["n_bytes"] == metrics["n_rows"] * (56 * 4 + 48)
    assert told["seconds"] > 0
    assert any("about 20.2 KiB in 7 shards, about 0 seconds on one worker" in text for _, text in run.logs), run.logs


def test_shards_are_no_larger_than_asked_and_hold_every_text_once(field: Field) -> None:
    run = field.run(shard_bytes=4096)
    harvest(run)
    shards = json.loads(run.outputs["manifest.json"])["shards"]
    assert len(shards) > 2
    assert [shard["path"] for shard in shards] == [f"shards/{i:05d}.safetensors" for i in range(len(shards))]
    ends = [shard["first_text"] + shard["n_texts"] for shard in shards]
    assert [shard["first_text"] for shard in shards] == [0, *ends[:-1]]
    assert ends[-1] == N
    for shard in shards:
        assert shard["n_texts"] == 1 or shard["n_rows"] * (56 * 4 + 48) <= 4096


def test_a_shard_says_whose_it_is(field: Field, tmp_path: Path) -> None:
    harvest(field.run(prompt_ref="soft"))
    file = tmp_path / "a"
    file.write_bytes(field.outputs().read("shards/00000.safetensors"))
    header = header_of(file)
    assert (header["model"], header["prompt"], header["dtype"], header["run_id"]) == (
        "small",
        "soft@1",
        "float32",
        "run-1",
    )
    assert set(header["versions"]) == {"torch", "transformers"}


def test_shards_come_out_the_same_again(field: Field, tmp_path: Path, llama: Any) -> None:
    harvest(field.run(shard_bytes=4096))
    other = Field(llama, tmp_path / "other")
    harvest(other.run(shard_bytes=4096))
    assert field.shard_hashes() == other.shard_hashes()


def keys_of(field: Field) -> dict[str, str]:
    """Under which name each shard's bytes lie: another one when it is written again."""
    folders = field.artifacts.names("runs/run-1/outputs")
    found = {name: field.artifacts.get(f"runs/run-1/outputs/{name}", label="x") for name in folders}
    return {name: artifact.files["data"].key for name, artifact in found.items() if artifact is not None}


@pytest.mark.parametrize("kill_at", [2, 5, 9, 14])
def test_a_harvest_goes_on_where_it_was_killed(field: Field, tmp_path: Path, llama: Any, kill_at: int) -> None:
    run = field.run(shard_bytes=4096)
    run.kill_at = kill_at
    with pytest.raises(Killed):
        harvest(run)
    before = keys_of(field)
    assert "manifest.json" not in run.outputs
    metrics = harvest(run.again())
    after = keys_of(field)
    assert len(after) == 7
    assert {name: after[name] for name in before} == before
    assert metrics["n_shards_by_helpers"] == 0
    whole = Field(llama, tmp_path / "whole")
    harvest(whole.run(shard_bytes=4096))
    assert field.shard_hashes() == whole.shard_hashes()


def test_kills_come_before_between_and_within_shards(field: Field) -> None:
    """So that the test above tests what it says."""
    counts = []
    for kill_at in (2, 5, 9, 14):
        run = field.run(run_id=f"run-{kill_at}", shard_bytes=4096)
        run.kill_at = kill_at
        with pytest.raises(Killed):
            harvest(run)
        counts.append(len(field.outputs(run.run_id).all()))
    assert counts[0] == 0 < counts[2] < counts[3] < 7


def test_a_stop_passes_through(field: Field) -> None:
    run = field.run(shard_bytes=4096)
    run.stop_at = 9
    with pytest.raises(RunStopped):
        harvest(run)
    assert 0 < len(field.outputs().all()) < 7


def test_a_damaged_plan_is_made_again(field: Field) -> None:
    run = field.run(shard_bytes=4096)
    run.kill_at = 9
    with pytest.raises(Killed):
        harvest(run)
    field.artifacts.put_record("runs/run-1/plan.json", {"shards": 3})
    with pytest.raises(DamagedArtifact):
        PlanFile(field.artifacts, run_id="run-1").load()
    after = run.again()
    harvest(after)
    assert "plan of run run-1 is damaged" in after.warnings()[0]
    assert len(field.outputs().all()) == 7


def test_a_dataset_that_has_changed_is_not_gone_on_with(field: Field) -> None:
    run = field.run(shard_bytes=4096)
    run.kill_at = 9
    with pytest.raises(Killed):
        harvest(run)
    field.datasets.delete("words")
    field.upload("words", [{"input": "t5", "target": " t6"}] * 11)
    with pytest.raises(Conflict, match="dataset changed since this run started"):
        harvest(run.again())


def test_a_missing_dataset_or_prompt(field: Field) -> None:
    for changes in ({"dataset": "none"}, {"prompt_ref": "none"}, {"reduce": {"project": "none"}}):
        with pytest.raises(NotFound):
            harvest(field.run(**changes))


def test_only_layers_that_are_needed_run(field: Field, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[int] = []
    blocks = field.world.hosted.architecture.blocks
    handles = [
        block.register_forward_pre_hook(lambda module, args, i=i: ran.append(i)) for i, block in enumerate(blocks)
    ]
    harvest(field.run(layers=[1], reduce="mean"))
    for handle in handles:
        handle.remove()
    assert set(ran) == {0, 1}


def test_helpers_are_asked_for_what_nobody_has(field: Field) -> None:
    coordinator = FakeCoordinator()
    harvest(field.run(shard_bytes=4096, coordinator=coordinator))
    # Of seven shards this worker does one itself; the last needs no help.
    assert coordinator.asked == [6, 5, 4, 3, 2, 1]
    assert coordinator.disbanded


def test_what_the_engine_reads_is_what_is_harvested(field: Field, tmp_path: Path) -> None:
    """Reading is the engine's; the harvest adds and loses nothing."""
    from service.map_sources.texts import Text
    from workers.states.reader import StateReader

    texts = [Text(ids=ids_of(i), own=(True,) * len(ids_of(i)), text="", index=i) for i in range(N)]
    spec = CaptureSpec(sites=("mlp_out",), layers=(1,))
    [batch] = StateReader(field.world.hosted).read(texts, spec=spec)
    harvest(field.run(sites=["mlp_out"], layers=[1]))
    np.testing.assert_array_equal(field.table(tmp_path)["mlp_out.1"], batch.tensors["mlp_out.1"].numpy())
