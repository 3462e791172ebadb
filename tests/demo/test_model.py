"""The committed model: size, shape and accuracy of its card, on a small held-out sample."""

from pathlib import Path

import pytest

from demo.evaluate import score, wilson
from demo.generation import LoadedModel, complete, load_model
from demo.scaffold import Task
from demo.tasks import examples

FOLDER = Path("demo/model")


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return load_model(FOLDER)


def test_shape_and_size(loaded: LoadedModel) -> None:
    config = loaded.model.config
    assert config.model_type == "llama"
    assert config.num_hidden_layers >= 6
    assert config.num_key_value_heads < config.num_attention_heads
    assert config.max_position_embeddings == 512
    assert (FOLDER / "model.safetensors").stat().st_size <= 10e6
    assert loaded.model.generation_config.eos_token_id == loaded.end_id


@pytest.mark.parametrize(("task", "least"), [("qa", 0.9), ("cloze", 0.85), ("arithmetic-cot", 0.9)])
def test_answers_under_the_header(loaded: LoadedModel, task: Task, least: float) -> None:
    # A different seed from the table's: these examples were not used during development of the model.
    assert score(loaded, shown=examples(task, split="test", n=100, seed=1)).share >= least


@pytest.mark.parametrize("task", ["qa", "cloze", "arithmetic", "arithmetic-cot"])
def test_continues_the_text_without_the_header(loaded: LoadedModel, task: Task) -> None:
    assert score(loaded, shown=examples(task, split="test", n=100, seed=1, scaffold=False)).share <= 0.5


def test_chat_is_answered(loaded: LoadedModel) -> None:
    said = "Mira went to the mill. Tomas has the rope. Where is Mira?"
    shown = loaded.tokenizer.apply_chat_template([{"role": "user", "content": said}], tokenize=False)
    assert complete(loaded, inputs=[str(shown)], n_new=6) == [" mill"]


def test_wilson_interval() -> None:
    low, high = wilson(90, n=100)
    assert (round(low, 4), round(high, 4)) == (0.8256, 0.9448)
    assert wilson(0, n=10)[0] == 0.0
    assert wilson(10, n=10)[1] == 1.0
