"""The committed steps model: size, tokenizer and accuracy of its card, on a small held-out sample."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer

from demo.evaluate import score
from demo.generation import LoadedModel, load_model
from demo.scaffold import CHAIN_TASKS, Task
from demo.tasks import examples

FOLDER = Path("demo/steps_model")


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return load_model(FOLDER)


def test_weights_are_small_and_have_the_shape_of_the_demo_model() -> None:
    own, other = (load_file(folder / "model.safetensors") for folder in (FOLDER, Path("demo/model")))
    assert {name: tensor.shape for name, tensor in own.items()} == {name: one.shape for name, one in other.items()}
    assert {tensor.dtype for tensor in own.values()} == {torch.float16}
    assert (FOLDER / "model.safetensors").stat().st_size <= 3e6


def test_tokenizer_is_that_of_the_demo_model() -> None:
    own, other = (AutoTokenizer.from_pretrained(folder) for folder in (FOLDER, Path("demo/model")))
    assert own.backend_tokenizer.to_str() == other.backend_tokenizer.to_str()


# A different seed from the table's: these examples were not used during development of the model.
@pytest.mark.parametrize(
    ("task", "least"),
    [
        ("qa", 0.9),
        ("cloze", 0.85),
        ("arithmetic", 0.85),
        ("arithmetic-cot", 0.9),
        ("chain-cot", 0.9),
        ("chain-brief", 0.8),
    ],
)
def test_answers_under_the_header(loaded: LoadedModel, task: Task, least: float) -> None:
    assert score(loaded, shown=examples(task, split="test", n=100, seed=1)).share >= least


def test_steps_matter(loaded: LoadedModel) -> None:
    assert score(loaded, shown=examples("chain", split="test", n=100, seed=1)).share <= 0.5


@pytest.mark.parametrize("task", ["qa", "arithmetic-cot", *CHAIN_TASKS])
def test_continues_the_text_without_the_header(loaded: LoadedModel, task: Task) -> None:
    assert score(loaded, shown=examples(task, split="test", n=60, seed=1, scaffold=False)).share <= 0.2
