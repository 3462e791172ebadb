"""Harvests of an encoder–decoder, held against plain transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import T5ForConditionalGeneration

from service.engine.model.encoder_decoder import EncoderDecoderShape
from service.errors import InvalidRequest, UnsupportedModel
from service.settings import ModelSource, Settings
from tests.workers.harvest.field import LENGTHS, Field, SharedFakeRun, text_of, words_of
from tests.workers.harvest.small_t5 import D_MODEL, EOS, N_DECODER, N_ENCODER, PAD, plain_states, save_t5
from workers.harvest.readers.encoder_decoder_model import EncoderDecoderModel
from workers.harvest.run import harvest

N = len(LENGTHS)


@pytest.fixture(scope="session")
def t5_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("t5")
    save_t5(folder)
    return folder


@pytest.fixture(scope="session")
def plain(t5_path: Path) -> Any:
    return T5ForConditionalGeneration.from_pretrained(t5_path).eval()


def encoder_ids(i: int) -> tuple[int, ...]:
    return (*words_of(i), EOS)


def decoder_ids(i: int) -> tuple[int, ...]:
    return (PAD, 2 + i)


def run_of(field: Field, path: Path, **spec: Any) -> SharedFakeRun:
    run = field.run(model="t5", **spec)
    run.settings = Settings(read_models=(ModelSource(name="t5", path=str(path)),), device="cpu", dtype="float32")
    return run


def states(plain: Any, site: str) -> list[torch.Tensor]:
    return [plain_states(plain, encoder_ids(i), decoder_ids(i))[site] for i in range(N)]


def close(got: np.ndarray, wanted: torch.Tensor) -> None:
    np.testing.assert_allclose(got, wanted.numpy(), rtol=1e-4, atol=1e-4)


def test_the_encoders_states(field: Field, t5_path: Path, plain: Any, tmp_path: Path) -> None:
    sites = ["encoder.embed", "encoder.resid_pre", "encoder.resid_post", "encoder.final_norm"]
    run = run_of(field, t5_path, sites=sites, layers=[0, -2])
    metrics = harvest(run)
    table = field.table(tmp_path)
    names = ["embed", "final_norm", *(f"{site}.{layer}" for site in ("resid_pre", "resid_post") for layer in (0, 1))]
    for name in names:
        close(table[f"encoder.{name}"], torch.cat(states(plain, f"encoder.{name}")))
    assert table["token_id"].tolist() == [token for i in range(N) for token in encoder_ids(i)]
    assert table["added"].tolist() == [flag for i in range(N) for flag in [False] * LENGTHS[i] + [True]]
    assert table["token"][:6] == [*(f"t{token}" for token in words_of(0)), "</s>"]
    assert table["text"][0] == text_of(words_of(0)) + " t2"
    # The decoder is not run for that.
    assert metrics["n_tokens"] == sum(LENGTHS) + N
    manifest = json.loads(run.outputs["manifest.json"])
    assert (manifest["model"], manifest["prompt"], manifest["rows"]) == ("t5", None, "token")
    assert manifest["tensors"]["encoder.embed"] == [D_MODEL]


def test_the_decoders_states(field: Field, t5_path: Path, plain: Any, tmp_path: Path) -> None:
    harvest(run_of(field, t5_path, sites=["decoder.embed", "decoder.resid_post", "decoder.final_norm"], layers=[0]))
    table = field.table(tmp_path)
    for name in ("embed", "resid_post.0", "final_norm"):
        close(table[f"decoder.{name}"], torch.cat(states(plain, f"decoder.{name}")))
    assert table["token_id"].tolist() == [token for i in range(N) for token in decoder_ids(i)]
    assert table["added"].tolist() == [True, False] * N
    assert table["position"].tolist() == [0, 1] * N


def test_both_sides_as_means(field: Field, t5_path: Path, plain: Any, tmp_path: Path) -> None:
    sites = ["encoder.resid_post.0", "decoder.final_norm"]
    harvest(run_of(field, t5_path, sites=sites, reduce="mean"))
    table = field.table(tmp_path)
    for site in sites:
        close(table[site], torch.stack([part.mean(0) for part in states(plain, site)]))
    assert "token_id" not in table


def test_without_target_the_decoder_reads_its_start_alone(
    field: Field, t5_path: Path, plain: Any, tmp_path: Path
) -> None:
    harvest(run_of(field, t5_path, sites=["decoder.final_norm"], include_target=False, reduce="norm"))
    table = field.table(tmp_path)
    alone = [plain_states(plain, encoder_ids(i), (PAD,))["decoder.final_norm"][0].norm() for i in range(N)]
    close(table["decoder.final_norm"], torch.stack(alone))
    assert table["text"][0] == text_of(words_of(0))


def test_texts_are_cut_to_max_tokens(field: Field, t5_path: Path, plain: Any, tmp_path: Path) -> None:
    harvest(run_of(field, t5_path, sites=["encoder.resid_pre.1"], max_tokens=4, positions="last"))
    table = field.table(tmp_path)
    cut = [plain_states(plain, encoder_ids(i)[:4], (PAD,))["encoder.resid_pre.1"][-1] for i in range(N)]
    close(table["encoder.resid_pre.1"], torch.stack(cut))


def test_texts_beyond_its_positions_are_left_out(field: Field, tmp_path: Path) -> None:
    save_t5(tmp_path / "short", n_positions=9)
    run = run_of(field, tmp_path / "short", sites=["encoder.embed"], positions="last")
    assert harvest(run)["n_dropped"] == sum(n + 1 > 9 for n in LENGTHS) == 2


def test_shards_do_not_depend_on_each_other(field: Field, t5_path: Path, tmp_path: Path) -> None:
    harvest(run_of(field, t5_path, sites=["encoder.resid_post.1"], shard_bytes=4096))
    many = field.table(tmp_path)
    assert len(field.shard_hashes()) > 2
    harvest(run_of(field, t5_path, sites=["encoder.resid_post.1"], run_id="run-2"))
    np.testing.assert_allclose(
        many["encoder.resid_post.1"], field.table(tmp_path, "run-2")["encoder.resid_post.1"], rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize(
    ("spec", "match"),
    [
        ({"sites": ["encoder.embed", "decoder.embed"]}, "request sites of one side, or reduce mean"),
        ({"sites": ["resid_post"]}, "not known of a t5"),
        ({"sites": ["encoder.resid_post"], "layers": [3]}, "The encoder has layers 0 to 2"),
        ({"sites": ["decoder.resid_post.2"]}, "The decoder has layers 0 to 1"),
        ({"sites": ["encoder.embed"], "prompt_ref": "soft"}, "support neither prompts"),
    ],
)
def test_what_cannot_be_read(field: Field, t5_path: Path, spec: dict[str, Any], match: str) -> None:
    with pytest.raises(InvalidRequest, match=match):
        harvest(run_of(field, t5_path, **spec))


def test_only_blocks_that_are_needed_run(t5_path: Path) -> None:
    model = EncoderDecoderModel.load("t5", str(t5_path), device="cpu", dtype="float32")
    ran: list[str] = []
    for side in ("encoder", "decoder"):
        for i, block in enumerate(getattr(model._module, side).block):
            block.register_forward_pre_hook(lambda module, args, at=f"{side}.{i}": ran.append(at))
    ids = torch.tensor([[5, 6, 1]])
    model.read(ids, None, taps=model.shape.resolve(["encoder.resid_post.1", "encoder.embed"], "all"))
    assert ran == ["encoder.0", "encoder.1"]
    ran.clear()
    model.read(ids, ids, taps=model.shape.resolve(["decoder.resid_pre.1", "encoder.embed"], "all"))
    assert ran == [*(f"encoder.{i}" for i in range(N_ENCODER)), "decoder.0", "decoder.1"]


def test_the_configuration_alone_tells_the_sites(t5_path: Path) -> None:
    shape = EncoderDecoderShape.of(json.loads((t5_path / "config.json").read_text()), label="t5")
    assert (shape.n_layers, shape.d_model) == ({"encoder": N_ENCODER, "decoder": N_DECODER}, D_MODEL)
    assert [tap.label for tap in shape.resolve(["decoder.resid_pre"], "all")] == [
        "decoder.resid_pre.0",
        "decoder.resid_pre.1",
    ]


def test_a_model_of_another_build_is_refused(field: Field) -> None:
    with pytest.raises(UnsupportedModel, match="expected a model of type t5, mt5, umt5, got 'llama'"):
        harvest(run_of(field, field.world.folder, sites=["encoder.embed"]))
