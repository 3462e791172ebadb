"""Conversion of texts to tokens and back, against the tokenizer of transformers."""

from __future__ import annotations

import pytest
from tokenizers import processors
from transformers import PreTrainedTokenizerFast

from service.engine.engine import Engine
from service.engine.model.hosted_model import HostedModel
from service.engine.requests import Detokenize, Tokenize
from service.errors import InvalidRequest
from tests.oracle.models import build_model, build_tokenizer
from tests.service.engine.small_engine import with_limits


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    """Puts a special token in front of each text."""
    made = build_tokenizer()
    made.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="</s> $A", special_tokens=[("</s>", made.eos_token_id)]
    )
    return made


@pytest.fixture(scope="module")
def with_special(tokenizer: PreTrainedTokenizerFast) -> Engine:
    return with_limits(HostedModel("m", build_model("llama"), tokenizer, revision=""))


@pytest.mark.parametrize("add_special_tokens", [True, False])
def test_tokens_are_those_of_the_tokenizer(
    with_special: Engine, tokenizer: PreTrainedTokenizerFast, add_special_tokens: bool
) -> None:
    texts = ("t9 t33 t60", "", "t2 unknown")
    found = with_special.tokenize(Tokenize(request_id="a", texts=texts, add_special_tokens=add_special_tokens))
    expected = [tokenizer(text, add_special_tokens=add_special_tokens)["input_ids"] for text in texts]
    assert [list(ids) for ids in found] == expected
    assert len(found[1]) == add_special_tokens


def test_the_text_has_special_tokens(with_special: Engine, tokenizer: PreTrainedTokenizerFast) -> None:
    ids = (1, 9, 33, 0, 1)
    text = with_special.detokenize(Detokenize(request_id="a", token_ids=ids))
    assert text == tokenizer.decode(list(ids), skip_special_tokens=False)
    assert "</s>" in text
    assert with_special.detokenize(Detokenize(request_id="a", token_ids=())) == ""


def test_an_id_outside_the_vocabulary_is_refused(engine: Engine) -> None:
    with pytest.raises(InvalidRequest, match="0 to 96") as error:
        engine.detokenize(Detokenize(request_id="a", token_ids=(5, 97)))
    assert error.value.loc == ("tokens", 1)
