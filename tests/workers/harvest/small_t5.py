"""A small random T5 with a tokenizer that ends every text, and what plain transformers says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

N_ENCODER, N_DECODER, D_MODEL, N_VOCAB = 3, 2, 20, 97
PAD, EOS = 0, 1


def save_t5(folder: Path, **changes: Any) -> None:
    """Write the model and its tokenizer: words t2, t3, … of one token each."""
    config = T5Config(
        vocab_size=N_VOCAB,
        d_model=D_MODEL,
        d_kv=6,
        d_ff=28,
        num_layers=N_ENCODER,
        num_decoder_layers=N_DECODER,
        num_heads=2,
        decoder_start_token_id=PAD,
        pad_token_id=PAD,
        eos_token_id=EOS,
        **changes,
    )
    model = T5ForConditionalGeneration(config)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * (0.5 if parameter.ndim > 1 else 1.0))
    model.save_pretrained(folder)
    vocab = {"<pad>": PAD, "</s>": EOS, **{f"t{i}": i for i in range(2, N_VOCAB)}}
    backend = Tokenizer(models.WordLevel(vocab, unk_token="<pad>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", EOS)])
    PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", pad_token="<pad>").save_pretrained(folder)


def plain_states(model: Any, encoder_ids: tuple[int, ...], decoder_ids: tuple[int, ...]) -> dict[str, torch.Tensor]:
    """States `[tokens, d_model]` by site, one text alone, from ``output_hidden_states``."""
    with torch.inference_mode():
        out = model(
            input_ids=torch.tensor([encoder_ids]),
            decoder_input_ids=torch.tensor([decoder_ids]),
            output_hidden_states=True,
        )
    found: dict[str, torch.Tensor] = {}
    sides = {"encoder": (out.encoder_hidden_states, N_ENCODER), "decoder": (out.decoder_hidden_states, N_DECODER)}
    for side, (hidden, n_layers) in sides.items():
        assert len(hidden) == n_layers + 1
        # The last one has gone through the final norm.
        found[f"{side}.embed"] = hidden[0][0]
        found[f"{side}.final_norm"] = hidden[n_layers][0]
        for layer in range(n_layers):
            found[f"{side}.resid_pre.{layer}"] = hidden[layer][0]
            if layer < n_layers - 1:
                found[f"{side}.resid_post.{layer}"] = hidden[layer + 1][0]
    return found
