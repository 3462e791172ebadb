"""Shape of the demo model: a small Llama with grouped-query attention."""

import torch
from transformers import LlamaConfig, LlamaForCausalLM


def demo_config(*, n_vocabulary: int, end_id: int) -> LlamaConfig:
    """About 2.1 M parameters: six layers of six query heads over two key/value heads, tied embeddings."""
    return LlamaConfig(
        vocab_size=n_vocabulary,
        hidden_size=192,
        intermediate_size=384,
        num_hidden_layers=6,
        num_attention_heads=6,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=end_id,
        pad_token_id=end_id,
    )


def fresh_model(config: LlamaConfig, *, seed: int) -> LlamaForCausalLM:
    """Newly initialised float32 weights, the same for the same seed; the caller's random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config).float()
