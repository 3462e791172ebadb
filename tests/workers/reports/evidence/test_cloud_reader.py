from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from service.errors import InvalidRequest
from tests.workers.reports.small_report import make_run
from tests.workers.tuning.small_run import put_dataset, small_model
from workers.reports.evidence import cloud_reader as reading
from workers.reports.evidence.cloud_reader import CloudReader
from workers.states.reader import StateReader
from workers.states.texts import Encoder


@pytest.fixture
def reader(tmp_path: Path) -> CloudReader:
    run = make_run(tmp_path)
    put_dataset(run.datasets, "told", [{"text": "t5 t6 a", "split": "test"}, {"text": "t5 b!", "split": "test"}])
    return CloudReader(small_model(), datasets=run.datasets, check=lambda: None, seed=0)


def test_a_cloud_has_means_of_texts_and_tokens(reader: CloudReader) -> None:
    found = reader.cloud("words", layers=[0, 2], n=1000)
    model = small_model()
    texts = list(Encoder(model).examples(reader._datasets.examples("words", split="test")))
    (states,) = StateReader(model).states(texts, layers=[0, 2])
    for layer in (0, 2):
        assert len(found[layer].texts) == len(texts) == 9
        np.testing.assert_allclose(found[layer].texts[3], states.vectors[layer][states.rows == 3].mean(0), atol=1e-5)
        assert sorted(map(tuple, found[layer].tokens)) == sorted(map(tuple, states.vectors[layer]))


def test_only_some_tokens_stand_for_many(reader: CloudReader, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = reader.cloud("words", layers=[1, 2], n=1000)
    monkeypatch.setattr(reading, "MAX_TOKENS_A_LAYER", 5)
    some = reader.cloud("words", layers=[1, 2], n=1000)
    rows = [[np.flatnonzero((whole[layer].tokens == row).all(1))[0] for row in some[layer].tokens] for layer in (1, 2)]
    assert len(rows[0]) == 5
    assert rows[0] == rows[1]  # the same tokens at every layer


def test_where_answers_are_short_the_input_walks_along(reader: CloudReader) -> None:
    long = reader.trajectories("words", layers=[0, 1], n=4, max_tokens=8)
    short = reader.trajectories("words", layers=[0, 1], n=4, max_tokens=3)
    assert (long.part, short.part) == ("generated", "input and answer")
    lengths = [len(walk) for walk in long.by_layer[0]]
    assert max(lengths) == 8
    assert all(len(walk) > 3 for walk in short.by_layer[1])
    # What is generated ends the walk with the input.
    np.testing.assert_allclose(short.by_layer[0][0][-3:], long.by_layer[0][0][:3], atol=1e-5)


def test_wording_by_hand(reader: CloudReader) -> None:
    found = reader.text_statistics("told", n=2)
    assert found.share_letters == pytest.approx(5 / 9)
    tokens = reader.vocabulary()[1]
    counted = {tokens[i].strip(): int(found.counts[i]) for i in np.flatnonzero(found.counts)}
    assert counted["t5"] == 2
    assert found.counts.sum() == sum(counted.values())


def test_the_vocabulary_is_the_first_layers_tokens(reader: CloudReader) -> None:
    vectors, tokens = reader.vocabulary()
    assert len(vectors) == len(tokens)
    cloud = reader.cloud("words", layers=[0], n=3)[0].tokens
    assert all((np.abs(vectors - row).max(1) < 1e-6).any() for row in cloud)


def test_a_single_token_is_no_cloud(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    put_dataset(run.datasets, "single", [{"text": "t5"}])
    reader = CloudReader(small_model(), datasets=run.datasets, check=lambda: None, seed=0)
    with pytest.raises(InvalidRequest, match="single"):
        reader.cloud("single", layers=[0], n=3)


def test_a_first_token_that_is_a_sink_is_neither_point_nor_step(
    reader: CloudReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual, walks = reader.cloud("told", layers=[1], n=9)[1], reader.trajectories("words", layers=[1], n=4, max_tokens=3)
    monkeypatch.setattr(reader._encoder, "skips_first", True)
    found, shorter = (
        reader.cloud("told", layers=[1], n=9)[1],
        reader.trajectories("words", layers=[1], n=4, max_tokens=3),
    )
    assert len(found.tokens) < len(usual.tokens)
    assert {*map(tuple, found.tokens.round(4))} < {*map(tuple, usual.tokens.round(4))}
    assert shorter.part == "input and answer"
    for walk, whole in zip(shorter.by_layer[1], walks.by_layer[1], strict=True):
        np.testing.assert_allclose(walk, whole[1:], atol=1e-5)
