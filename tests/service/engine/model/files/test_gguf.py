"""Models in GGUF files: weights, configuration and tokenizer against those that were written, and refusals by name."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from torch import Tensor

from service.engine.model.files import gguf_header
from service.engine.model.files.parameter_counts import count_in_gguf
from service.engine.model.hosted_model import HostedModel
from service.engine.model.loading import load_pretrained
from service.errors import UnsupportedModel
from tests.oracle.gguf_files import CHAT_TEMPLATE, reference_tokenizer, small_llama
from tests.service.engine.model.files.conftest import Write

IDS = torch.tensor([[5, 77, 300, 12, 12, 41, 250, 9]])
TEXTS = (
    "Hello world",
    "a  1",
    "a   12 b",
    "x\n  345\n\n\t6",
    "in 1984, 3.14159 == pi?",
    " leading and trailing ",
    "",
    " ",
    "\n\n\n",
    "it's they're I'LL don't",
    "Zwölf größere Straßen, naïve café",
    "いろは 漢字 一二三 ٣٤ ½ ² Ⅳ",
    "👩‍👩‍👧‍👦🇫🇷😀",
    "<|im_start|>user\nHi<|im_end|>",
    "\x00\x01\u200b\ufeff\u2028",
    "e\u0301 vs é",
)


def load(path: Path, **options: Any) -> tuple[Any, Any, str]:
    return load_pretrained(str(path), **{"device": "cpu", "dtype": "float32", **options})


@pytest.fixture(scope="session")
def loaded(original: Any, reference: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, str]:
    from tests.oracle.gguf_files import write_gguf

    path = tmp_path_factory.mktemp("gguf") / "model.gguf"
    write_gguf(path, model=original, tokenizer=reference)
    return load(path)


def test_the_model_is_the_one_that_was_written(original: Any, loaded: tuple[Any, Any, str]) -> None:
    module, _, _ = loaded
    expected = original.state_dict()
    assert set(module.state_dict()) == set(expected)
    for name, values in module.state_dict().items():
        assert torch.equal(values, expected[name]), name
    with torch.inference_mode():
        torch.testing.assert_close(module(IDS).logits, original(IDS).logits, rtol=0, atol=1e-5)
    assert module.lm_head.weight is module.model.embed_tokens.weight
    assert module.config.rope_parameters == original.config.rope_parameters
    assert module.config.rms_norm_eps == pytest.approx(1e-5, rel=1e-6)
    assert module.config.max_position_embeddings == 256


def test_a_head_of_its_own_is_read(write: Write, reference: Tokenizer) -> None:
    model = small_llama(n_vocab=reference.get_vocab_size(), tied=False)
    module, _, _ = load(write(model=model))
    assert torch.equal(module.lm_head.weight, model.lm_head.weight)
    assert not torch.equal(module.lm_head.weight, module.model.embed_tokens.weight)


def test_it_is_hosted_with_the_sha256_of_the_file_as_revision(write: Write) -> None:
    path = write()
    hosted = HostedModel.load("small", str(path), device="cpu")
    assert hosted.card.revision == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (hosted.card.architecture, hosted.card.n_layers, hosted.card.d_model) == ("LlamaForCausalLM", 2, 64)
    assert hosted.card.has_chat_template


def q4_1(path: Path, name: str, shape: tuple[int, int]) -> Tensor:
    """Weights of one tensor by the definition of Q4_1: blocks of scale, minimum (float16) and 32 four-bit numbers."""
    (tensor,) = (one for one in gguf.GGUFReader(path).tensors if one.name == name)
    blocks = np.asarray(tensor.data).reshape(-1, 20)
    scale, minimum = (blocks[:, i : i + 2].copy().view(np.float16).astype(np.float32) for i in (0, 2))
    numbers = np.concatenate([blocks[:, 4:] & 15, blocks[:, 4:] >> 4], axis=1).astype(np.float32)
    return torch.from_numpy((scale * numbers + minimum).reshape(shape))


def test_quantised_weights_are_dequantised(write: Write, original: Any) -> None:
    path = write(quantisation="Q4_1")
    module, _, _ = load(path)
    found = module.model.layers[1].mlp.down_proj.weight.detach()
    assert torch.equal(found, q4_1(path, "blk.1.ffn_down.weight", (64, 96)))
    difference = (found - original.model.layers[1].mlp.down_proj.weight).abs().max()
    assert 0 < float(difference) < 0.05


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_weights_are_rounded_once(write: Write, original: Any, dtype: str) -> None:
    module, _, _ = load(write(), dtype=dtype)
    for name, values in module.state_dict().items():
        assert torch.equal(values, original.state_dict()[name].to(getattr(torch, dtype))), name


@pytest.mark.parametrize("text", TEXTS)
def test_token_ids_are_those_of_the_tokenizer_that_was_written(
    loaded: tuple[Any, Any, str], reference: Tokenizer, text: str
) -> None:
    _, tokenizer, _ = loaded
    ids = tokenizer(text)["input_ids"]
    assert ids == reference.encode(text).ids
    assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text


@pytest.mark.parametrize("text", TEXTS)
def test_a_vocabulary_like_gpt2_s_is_split_like_it(write: Write, text: str) -> None:
    reference = reference_tokenizer(digits=False)
    model = small_llama(n_vocab=reference.get_vocab_size())
    _, tokenizer, _ = load(write(model=model, tokenizer=reference, pre="gpt-2"))
    assert tokenizer(text)["input_ids"] == reference.encode(text).ids


def test_digits_differ_between_both_splits(loaded: tuple[Any, Any, str], reference: Tokenizer) -> None:
    """Otherwise the tests above would not notice the wrong one."""
    split = reference.get_vocab()
    assert reference.encode("a  1").ids == [split["a"], split["ĠĠ"], split["1"]]


def test_special_tokens_and_the_chat_template_are_those_of_the_file(loaded: tuple[Any, Any, str]) -> None:
    module, tokenizer, _ = loaded
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == (
        "<|im_start|>",
        "<|im_end|>",
        "<|im_end|>",
    )
    assert tokenizer.chat_template == CHAT_TEMPLATE
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True
    )
    assert text == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert module.generation_config.eos_token_id == [2]
    assert len(tokenizer) == module.config.vocab_size


@pytest.mark.parametrize(("add_bos", "first"), [(True, 1), (False, None), (None, None)])
def test_bos_is_added_if_the_file_says_so(write: Write, add_bos: bool | None, first: int | None) -> None:
    metadata = {} if add_bos is None else {"tokenizer.ggml.add_bos_token": add_bos}
    _, tokenizer, _ = load(write(metadata=metadata))
    ids = tokenizer("Hello")["input_ids"]
    assert (ids[0] == 1) == (first == 1)


def test_llama_3_s_split_begins_with_bos_and_keeps_whole_words(write: Write, reference: Tokenizer) -> None:
    _, tokenizer, _ = load(write(pre="llama-bpe"))
    assert tokenizer("Hello")["input_ids"][0] == 1
    # A text that is a word of the vocabulary is one token, even if no merges lead to it.
    assert tokenizer.backend_tokenizer.model.ignore_merges


def test_tokens_that_end_a_turn_end_a_text(write: Write) -> None:
    module, _, _ = load(write(metadata={"tokenizer.ggml.eot_token_id": 0}))
    assert module.generation_config.eos_token_id == [0, 2]


def test_tokens_beyond_the_vocabulary_do_not_exist(write: Write) -> None:
    """transformers adds <|endoftext|> to byte-level vocabularies that lack it."""

    class Renamed:
        def to_str(self) -> str:
            return reference_tokenizer().to_str().replace("<|endoftext|>", "<|end|>")

    _, tokenizer, _ = load(write(tokenizer=Renamed()))
    assert max(tokenizer("<|endoftext|>")["input_ids"]) < 420
    assert len(tokenizer) == 420


def refused(path: Path) -> str:
    with pytest.raises(UnsupportedModel) as error:
        load(path)
    assert str(path) in error.value.detail
    assert "\n" not in error.value.detail
    return error.value.detail


@pytest.mark.parametrize("content", [b"", b"GG", b"PK\x03\x04 a zip", b"{}"])
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    for name in ("model.gguf", "model.bin"):
        path = tmp_path / name
        path.write_bytes(content)
        assert "expected a GGUF file" in refused(path)


@pytest.mark.parametrize("share", [0.001, 0.01, 0.05, 0.2, 0.5, 0.999])
def test_a_truncated_file_is_refused(write: Write, share: float) -> None:
    path = write()
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert "damaged or truncated" in refused(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert "cannot be read" in refused(tmp_path / "missing.gguf")


def test_an_architecture_that_transformers_does_not_read_is_refused(write: Write) -> None:
    assert "architecture 'rwkv6'" in refused(write(architecture="rwkv6"))


def test_a_quantisation_without_an_implementation_is_refused(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(quantisation="Q8_0")

    def none(*_: object) -> None:
        raise NotImplementedError

    monkeypatch.setattr(gguf, "dequantize", none)
    assert "quantisation F32" in refused(path)


def test_a_missing_weight_is_refused(write: Write) -> None:
    path = write(edit=lambda tensors: tensors.pop("blk.1.ffn_up.weight"))
    assert "model.layers.1.mlp.up_proj.weight is missing" in refused(path)


def test_scaled_rotary_embeddings_are_refused(write: Write) -> None:
    """transformers would ignore them, and the model would silently compute something else."""
    assert "rope_freqs.weight" in refused(
        write(edit=lambda tensors: tensors.update({"rope_freqs.weight": np.ones(8, np.float32)}))
    )
    assert "scaling yarn" in refused(write("other.gguf", metadata={"llama.rope.scaling.type": "yarn"}))


@pytest.mark.parametrize("pre", ["deepseek-llm", "default", None])
def test_a_split_that_is_not_supported_is_refused(write: Write, pre: str | None) -> None:
    detail = refused(write(pre=pre))
    assert "tokenizer.ggml.pre" in detail
    assert ("got none" if pre is None else repr(pre)) in detail


def test_without_the_package_the_message_names_the_extra(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write()
    monkeypatch.setattr(gguf_header, "find_spec", lambda name: None if name == "gguf" else find_spec(name))
    assert "pip install 'promptatlas-server[gguf]'" in refused(path)


def test_the_header_has_the_number_of_parameters(write: Write, original: Any) -> None:
    path = write()
    n_parameters = sum(parameter.numel() for parameter in original.parameters())
    assert gguf_header.read_header(path, label="m").n_parameters == n_parameters
    assert count_in_gguf(str(path), revision="none", cache=None) == n_parameters
