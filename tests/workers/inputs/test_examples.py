from __future__ import annotations

from dataclasses import dataclass

import pytest
from tokenizers.processors import TemplateProcessing

from service.engine.engine import Engine
from service.engine.model.hosted_model import HostedModel
from service.engine.requests import Capture, CaptureSpec, Done, Limits
from tests.oracle.models import EOS, build_model, build_tokenizer
from tests.workers.tuning.small_training import hosted
from workers.inputs.examples import EncodedExample, encode, end_of_text


@dataclass(frozen=True)
class Item:
    input: str | None = None
    target: str | None = None
    text: str | None = None


def test_an_example_is_input_then_target_then_the_end() -> None:
    found, n_dropped = encode(hosted(), [Item("t5 t6 t7", "t8 t9")], max_tokens=6)
    assert found == [EncodedExample((5, 6, 7), (8, 9, EOS))]
    assert found[0].length == 5
    assert n_dropped == 0


def test_what_is_too_long_or_says_nothing_is_left_out_and_counted() -> None:
    items = [Item("t5 t6 t7", "t8 t9"), Item("", "t8"), Item("t5", "t6"), Item("t5 t6 t7 t8", "t9")]
    found, n_dropped = encode(hosted(), items, max_tokens=5)
    assert found == [EncodedExample((5,), (6, EOS))]
    assert n_dropped == 3


def test_running_text_is_answer_from_its_second_token_and_is_cut() -> None:
    found, n_dropped = encode(
        hosted(), [Item(text="t5 t6 t7"), Item(text="t5 t6 t7 t8 t9"), Item("t2", "t3")], max_tokens=4
    )
    assert found == [EncodedExample((5,), (6, 7, EOS)), EncodedExample((5,), (6, 7, 8)), EncodedExample((2,), (3, EOS))]
    assert n_dropped == 0


@pytest.fixture(scope="module")
def opening() -> HostedModel:
    """A model whose tokenizer begins every text with a token of its own."""
    tokenizer = build_tokenizer()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="t7 $A", special_tokens=[("t7", 7)])
    return HostedModel("opening", build_model("llama"), tokenizer, revision="random")


def test_inputs_are_tokenised_as_for_a_completion_and_targets_bare(opening: HostedModel) -> None:
    texts = ["t5 t6", "t9", "t5 nothing"]
    engine = Engine(opening, limits=Limits(), load_prompt=lambda name: pytest.fail(name))
    engine.submit(Capture(request_id="x", inputs=tuple(texts), capture=CaptureSpec(sites=("embed",))))
    (done,) = [event for _ in range(9) for event in engine.step() if isinstance(event, Done)]
    assert done.result is not None
    found, _ = encode(opening, [Item(text, "t11") for text in texts], max_tokens=64)
    assert [i for example in found for i in example.input_ids] == done.result.tensors["token_ids"].tolist()
    assert {example.target_ids for example in found} == {(11, EOS)}
    assert found[0].input_ids[0] == 7


def test_the_tokenizers_end_of_text_comes_before_the_models() -> None:
    model = HostedModel("ending", build_model("llama"), build_tokenizer(), revision="random")
    model.module.generation_config.eos_token_id = [4, 3]
    assert end_of_text(model) == EOS
    model.tokenizer.eos_token = None
    assert end_of_text(model) == 4
    model.module.generation_config.eos_token_id = None
    model.module.config.eos_token_id = None
    assert end_of_text(model) is None
    assert encode(model, [Item("t5", "t6")], max_tokens=9)[0] == [EncodedExample((5,), (6,))]
