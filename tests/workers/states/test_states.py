from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from service.engine.model.hosted_model import HostedModel
from service.engine.prompts.prompt import Prompt
from service.engine.requests import CaptureSpec
from service.errors import EngineFault
from service.map_sources.states import States
from service.map_sources.texts import Text, TextParts
from service.store.datasets.items import Example
from tests.oracle.models import build_model, save
from workers.running.interface import RunStopped
from workers.states.reader import StateReader
from workers.states.texts import Encoder
from workers.states.virtual_states import virtual_states


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> HostedModel:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("llama")
    save(build_model("llama"), Path(folder))
    return HostedModel.load("small", str(folder), device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def plain() -> torch.nn.Module:
    found: torch.nn.Module = build_model("llama")
    return found


def hidden_states(plain: torch.nn.Module, ids: tuple[int, ...]) -> list[torch.Tensor]:
    """By layer the inputs of the blocks, from transformers itself."""
    with torch.inference_mode():
        return [h[0] for h in plain(torch.tensor([ids]), output_hidden_states=True).hidden_states]


def some_texts() -> list[Text]:
    lengths = [5, 3, 8, 2, 13]
    return [
        Text(
            ids=tuple((7 * i + 3 * k) % 90 + 2 for k in range(n)),
            own=(False,) * (i == 2) + (True,) * (n - (i == 2)),
            text=f"text {i}",
            index=10 + i,
        )
        for i, n in enumerate(lengths)
    ]


def joined(blocks: list[States], layer: int) -> np.ndarray:
    return np.concatenate([block.vectors[layer] for block in blocks])


def test_states_of_tokens_are_those_of_transformers(model: HostedModel, plain: torch.nn.Module) -> None:
    texts = some_texts()
    blocks = list(StateReader(model, batch_bytes=1).states(texts, layers=[0, 2]))
    assert [len(block.texts) for block in blocks] == [1] * 5
    for layer in (0, 2):
        expected = [hidden_states(plain, text.ids)[layer][list(text.own)] for text in texts]
        np.testing.assert_allclose(joined(blocks, layer), torch.cat(expected).numpy(), rtol=1e-4, atol=1e-5)
    third = blocks[2]
    assert third.positions is not None
    assert third.token_ids is not None
    assert third.positions.tolist() == list(range(1, 8))  # its first token was added
    assert third.token_ids.tolist() == list(texts[2].ids[1:])


def test_a_text_is_the_mean_of_its_own_tokens(model: HostedModel) -> None:
    texts = some_texts()
    reader = StateReader(model)
    (tokens,) = reader.states(texts, layers=[1])
    (means,) = reader.states(texts, layers=[1], per="text")
    assert means.positions is None
    assert means.rows.tolist() == [0, 1, 2, 3, 4]
    for i in range(5):
        own = tokens.vectors[1][tokens.rows == i]
        assert len(own) == texts[i].n_own
        np.testing.assert_allclose(means.vectors[1][i], own.mean(0), rtol=1e-5, atol=1e-6)


def test_layers_asked_for_beside_change_nothing(model: HostedModel) -> None:
    alone = list(StateReader(model, batch_bytes=6000).states(some_texts(), layers=[1]))
    beside = list(StateReader(model, batch_bytes=6000).states(some_texts(), layers=[0, 1, 2]))
    assert 1 < len(alone) < 5
    assert joined(alone, 1).tobytes() == joined(beside, 1).tobytes()


def test_texts_without_own_tokens_are_left_out(model: HostedModel) -> None:
    empty = Text(ids=(4, 5), own=(False, False), text="", index=0)
    (found,) = StateReader(model).states([empty, *some_texts()[:1], empty], layers=[0])
    assert [text.text for text in found.texts] == ["text 0"]


def test_any_capture_is_read_in_batches(model: HostedModel, plain: torch.nn.Module) -> None:
    texts = some_texts()
    spec = CaptureSpec(sites=("resid_post",), layers=(0,), positions="last")
    batches = list(StateReader(model, batch_bytes=4 * 56 * 9).read(texts, spec=spec))
    assert [len(batch.texts) for batch in batches] == [2, 1, 1, 1]
    for batch in batches:
        for row, text in zip(batch.tensors["resid_post.0"], batch.texts, strict=True):
            torch.testing.assert_close(row, hidden_states(plain, text.ids)[1][-1], rtol=1e-4, atol=1e-5)


def test_states_under_a_prompt_are_those_behind_its_vectors(model: HostedModel, plain: torch.nn.Module) -> None:
    # A soft prompt of token embeddings is these tokens in front.
    front = (11, 12, 13)
    vectors = plain.get_parameter("model.embed_tokens.weight")[list(front)].detach()
    prompt = Prompt("soft", {"soft": vectors})
    (found,) = StateReader(model, prompt=prompt).states(some_texts()[:1], layers=[2])
    expected = hidden_states(plain, front + some_texts()[0].ids)[2]
    np.testing.assert_allclose(found.vectors[2], expected[3:].numpy(), rtol=1e-4, atol=1e-5)
    virtual = virtual_states(model, prompt, layers=[2])
    np.testing.assert_allclose(virtual[2], expected[:3].numpy(), rtol=1e-4, atol=1e-5)


def test_a_stop_leaves_nothing_in_the_engine(model: HostedModel) -> None:
    stops = iter([None, RunStopped()])

    def check() -> None:
        if (stop := next(stops, None)) is not None:
            raise stop

    reader = StateReader(model, check=check, batch_bytes=1)
    with pytest.raises(RunStopped):
        list(reader.states(some_texts(), layers=[1]))
    assert len(list(reader.states(some_texts(), layers=[1]))) == 5


def test_states_that_are_no_numbers_are_refused(model: HostedModel) -> None:
    prompt = Prompt("soft", {"soft": torch.full((1, 56), float("nan"))})
    with pytest.raises(EngineFault, match="layer 2"):
        list(StateReader(model, prompt=prompt).states(some_texts(), layers=[2]))


def example(record: Mapping[str, object], **parts: str) -> Example:
    fields = {"input": None, "target": None, "text": None, **parts}
    return Example(index=4, split="test", answers=(), record=record, **fields)


def test_records_are_read_as_tuning_reads_them(model: HostedModel) -> None:
    encoder = Encoder(model)
    pair = encoder.encode(TextParts.of_example(example({"task": "sums"}, input="t5 t6", target=" t7")))
    assert (pair.text, pair.task, pair.index, pair.split, pair.input) == ("t5 t6 t7", "sums", 4, "test", "t5 t6")
    alone = encoder.encode(
        TextParts.of_example(example({"task": 3}, input="t5 t6", target=" t7"), include_target=False)
    )
    assert (alone.text, alone.task) == ("t5 t6", "3")
    assert pair.ids[: len(alone.ids)] == alone.ids
    assert len(pair.ids) == len(alone.ids) + 1
    running = encoder.encode(TextParts.of_example(example({"task": True}, text="t8 t9")))
    assert (running.text, running.task, running.n_own) == ("t8 t9", None, 2)


def test_a_long_text_is_cut_to_the_room_beside_a_prompt(model: HostedModel) -> None:
    (text,) = Encoder(model, n_virtual=100).texts(["t5 " * 60])
    assert len(text.ids) == len(text.own) == 28


def test_added_tokens_are_told_from_own_ones(tmp_path: Path) -> None:
    from tokenizers.processors import TemplateProcessing

    folder = tmp_path / "model"
    save(build_model("llama"), folder)
    loaded = HostedModel.load("small", str(folder), device="cpu", dtype="float32")
    loaded.tokenizer.add_special_tokens({"bos_token": "<s>"})
    loaded.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", loaded.tokenizer.convert_tokens_to_ids("<s>"))]
    )
    encoder = Encoder(loaded)
    assert encoder.added == (1, 0)
    (text,) = encoder.texts(["t5 t6"])
    assert text.own == (False, True, True)


@pytest.mark.parametrize("n_tokens", [1, 2, 5])
def test_the_first_token_is_no_point_if_it_is_a_sink(
    model: HostedModel, monkeypatch: pytest.MonkeyPatch, n_tokens: int
) -> None:
    text = " ".join(f"t{i}" for i in range(n_tokens))
    usual = Encoder(model).encode(TextParts(begin=text))
    monkeypatch.setattr(model, "first_token_is_sink", True)
    found = Encoder(model).encode(TextParts(begin=text))
    assert found.ids == usual.ids
    assert usual.own == (True,) * len(usual.ids)
    # The only token of a text remains a point.
    assert found.own == ((False,) + (True,) * (len(usual.ids) - 1) if len(usual.ids) > 1 else (True,))
    with_end = Encoder(model).encode(TextParts(begin="t1", end=" t2"))
    assert with_end.own == (False,) + (True,) * (len(with_end.ids) - 1)
