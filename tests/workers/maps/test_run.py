from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from service.engine.prompts.prompt import Prompt
from service.errors import InvalidRequest
from service.projection.bases import load_basis
from service.store.artifacts.tensor_codec import decode
from service.store.maps.points import TextColumn
from service.store.maps.store import basis_path
from tests.workers.evaluation.fake_run import FakeRun, Killed
from tests.workers.maps.small_map import facts_of, make_run, points_of, put_prompt, rows_of
from tests.workers.tuning.small_run import small_model
from workers.maps.run import make_map
from workers.states.reader import StateReader
from workers.states.texts import Encoder
from workers.states.virtual_states import virtual_states

TEXTS = ["t5 t6 t7", "t8 t9", "t10 t11 t12 t13", "t14", "t15 t16"]
GIVEN = {"texts": TEXTS, "name": "given"}


def placed(run: FakeRun, layer: int, vectors: np.ndarray) -> np.ndarray:
    """Where the kept basis of a layer puts vectors."""
    file = decode(run.outputs[basis_path(layer)])
    return load_basis(file.tensors, facts=file.metadata).place(vectors)


def states(texts: list[str], layer: int, per: Any = "text") -> np.ndarray:
    model = small_model()
    (found,) = StateReader(model).states(Encoder(model).texts(texts), layers=[layer], per=per)
    return found.vectors[layer]


def test_texts_lie_where_their_mean_states_are_placed(tmp_path: Path) -> None:
    run = make_run(tmp_path, layers=[0, 2], sources=[GIVEN])
    metrics = make_map(run)
    assert metrics["n_points"] == 10
    for layer in (0, 2):
        np.testing.assert_allclose(points_of(run, layer).places, placed(run, layer, states(TEXTS, layer)), atol=1e-5)
        rows = rows_of(run, layer)
        assert [row["text"] for row in rows] == TEXTS
        assert {(row["source"], row["role"], row["layer"], row["token"]) for row in rows} == {
            ("given", "state", layer, None)
        }
    facts = facts_of(run)
    assert facts["layers"] == [0, 2]
    assert facts["sources"] == ["given"]
    assert facts["added"] == [0, 0]
    assert [quality["n_points"] for quality in facts["quality"]] == [5, 5]
    assert facts["quality"][0]["explained_variance"][0] >= facts["quality"][0]["explained_variance"][1] > 0
    assert run.steps[-1][0] == run.steps[-1][1]


def test_a_dataset_gives_a_point_a_token_with_text_task_and_position(tmp_path: Path) -> None:
    source = {"dataset": "words", "split": "test", "n": 4, "per": "token"}
    run = make_run(tmp_path, layers=[1], sources=[source])
    make_map(run)
    rows = rows_of(run, 1)
    examples = list(run.datasets.examples("words", split="test", n=4, seed=0))
    assert list(dict.fromkeys(row["text"] for row in rows)) == [e.input + e.target for e in examples]
    for example in examples:
        own = [row for row in rows if row["text"] == example.input + example.target]
        assert [row["position"] for row in own] == list(range(len(own)))
        assert " ".join(row["token"].strip() for row in own) == example.input + example.target
        assert {row["task"] for row in own} == {example.record["task"]}


def test_a_prompt_lies_with_its_draw_and_its_way(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    soft = put_prompt(run, "soft")
    run.spec = {**run.spec, "layers": [0, 2], "sources": [{"prompts": ["soft"], "snapshots": True, "name": "tuned"}]}
    make_map(run)
    rows = rows_of(run, 0)
    assert [row["role"] for row in rows] == ["draw"] * 3 + ["snapshot"] * 6 + ["posterior"] * 3
    first = [row for row in rows if row["group"] == f"{soft.ref} 0"]
    assert [(row["role"], row["position"]) for row in first] == [
        ("draw", -3),
        ("snapshot", 4),
        ("snapshot", 8),
        ("posterior", -3),
    ]
    assert {row["prompt"] for row in rows} == {"soft@1"}
    own = run.prompts.load(soft).tensors["soft"]
    steps = np.concatenate([own + 1, own + 0.5, own + 0.25, own])
    np.testing.assert_allclose(points_of(run, 0).places, placed(run, 0, steps), atol=1e-5)
    # Above, the states that the vectors become.
    (above,) = virtual_states(
        small_model(), Prompt("soft", {"soft": torch.from_numpy(own.copy())}), layers=[2]
    ).values()
    np.testing.assert_allclose(points_of(run, 2).places[-3:], placed(run, 2, above), atol=1e-5)
    assert [row["role"] for row in rows_of(run, 2)] == [row["role"] for row in rows]


def test_deep_vectors_lie_at_their_own_layers(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    put_prompt(run, "local", kind="deep", layers=(1,), where="local")
    put_prompt(run, "carried", kind="deep", layers=(1,), where="carried")
    prompts = {"prompts": ["local", "carried"], "draws": False}
    run.spec = {**run.spec, "layers": [1, 2], "sources": [prompts, GIVEN]}
    make_map(run)
    assert [row["prompt"] for row in rows_of(run, 1)][:6] == ["local@1"] * 3 + ["carried@1"] * 3
    assert [row["prompt"] for row in rows_of(run, 2)][:4] == ["carried@1"] * 3 + [None]


def test_draws_of_a_prior_are_those_of_a_sample(tmp_path: Path) -> None:
    prior = {"prior": {"kind": "isotropic", "std": 0.5}, "n": 7, "seed": 3}
    run = make_run(tmp_path, layers=[0, 1], sources=[prior])
    make_map(run)
    assert {row["role"] for row in rows_of(run, 1)} == {"draw"}
    assert not np.allclose(points_of(run, 0).places, points_of(run, 1).places)
    from workers.priors.run import sample

    drawn = make_run(tmp_path / "sample", prior=prior["prior"], n=7, seed=3, layer=1)
    sample(drawn)
    vectors = decode(drawn.outputs["draw.safetensors"]).tensors["vectors"]
    np.testing.assert_allclose(points_of(run, 1).places, placed(run, 1, vectors), atol=1e-5)


def test_the_vocabulary_lies_at_the_embeddings_alone(tmp_path: Path) -> None:
    run = make_run(tmp_path, layers=[0, 1], sources=[{"embeddings": "vocabulary", "n": 20, "seed": 4}, GIVEN])
    make_map(run)
    rows = [row for row in rows_of(run, 0) if row["role"] == "embedding"]
    assert len(rows) == 20
    assert len(rows_of(run, 1)) == 5
    tokens = TextColumn.from_tensors(decode(run.outputs["tokens.safetensors"]).tensors, name="token").values
    assert len(tokens) == 97
    ids = [tokens.index(row["token"]) for row in rows]
    assert ids == sorted(ids)
    matrix = small_model().module.get_input_embeddings().weight[ids].detach().numpy()
    np.testing.assert_allclose(points_of(run, 0).places[:20], placed(run, 0, matrix), atol=1e-5)


def test_trajectories_are_generations_in_order(tmp_path: Path) -> None:
    asked = {"inputs": ["t5 t6", "t7"], "max_tokens": 5}
    run = make_run(tmp_path, layers=[0, 2], sources=[{"trajectories": asked, "name": "ways"}])
    make_map(run)
    rows = rows_of(run, 2)
    groups = [row["group"] for row in rows]
    assert list(dict.fromkeys(groups)) == ["ways 0", "ways 1"]
    for group, n_input in (("ways 0", 2), ("ways 1", 1)):
        own = [row for row in rows if row["group"] == group]
        assert [row["position"] for row in own] == list(range(len(own)))
        assert n_input < len(own) <= n_input + 5
        text = own[0]["text"]
        assert text.startswith(asked["inputs"][int(group[-1])])  # type: ignore[index]
        assert [row["token"].strip() for row in own] == text.split()[: len(own)]
    # A state is that of the text that was generated.
    text = rows[0]["text"]
    n = groups.count("ways 0")
    np.testing.assert_allclose(
        points_of(run, 2).places[:n], placed(run, 2, states([text], 2, per="token")[:n]), atol=1e-4
    )


def test_an_input_without_room_behind_it_is_left_out(tmp_path: Path) -> None:
    asked = {"inputs": ["t5 " * 128, "t7 " * 126, "t8 t9"], "max_tokens": 5}
    run = make_run(tmp_path, layers=[1], sources=[{"trajectories": asked}])
    make_map(run)
    assert max(row["position"] for row in rows_of(run, 1)) <= 127
    assert any("1 of 3 inputs" in text for text in run.warnings())


@pytest.mark.parametrize("kill_at", [3, 9, 14])
def test_a_killed_run_goes_on_to_the_same_map(tmp_path: Path, kill_at: int) -> None:
    sources = [{"dataset": "words", "n": 12}, GIVEN]
    whole = make_run(tmp_path / "whole", layers=[0, 1, 2], sources=sources)
    make_map(whole)
    broken = make_run(tmp_path / "broken", layers=[0, 1, 2], sources=sources)
    broken.kill_at = kill_at
    with pytest.raises(Killed):
        make_map(broken)
    again = broken.again()
    make_map(again)
    assert again.outputs == whole.outputs


def test_a_layer_with_too_few_points_is_named(tmp_path: Path) -> None:
    run = make_run(tmp_path, layers=[2], sources=[{"texts": ["t5", "t6"]}])
    with pytest.raises(InvalidRequest, match="layer 2 has 2"):
        make_map(run)
