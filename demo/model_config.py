"""Configuration and initialisation of the demo model: a small Llama with grouped-query attention."""

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaAttention


def demo_config(*, n_vocabulary: int, end_id: int) -> LlamaConfig:
    """About 1.3 M parameters: six layers of four query heads over two key/value heads, tied embeddings."""
    return LlamaConfig(
        vocab_size=n_vocabulary,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        attention_bias=True,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=end_id,
        pad_token_id=end_id,
    )


def fresh_model(config: LlamaConfig, *, seed: int) -> LlamaForCausalLM:
    """Newly initialised float32 weights, the same for the same seed. The caller's random state does not change."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config).float()
        with torch.no_grad():
            for layer in model.model.layers:
                _imitate_trained_attention(layer.self_attn, config=config)
    return model


def _imitate_trained_attention(attention: LlamaAttention, *, config: LlamaConfig) -> None:
    """Initialise heads with the patterns that they tend to learn: from noise, the lookup needs many times more tokens.

    In the first group, one head attends to tokens equal to its own. In the last group, heads attend one and three tokens
    back. The output projections start as the transposes of the value projections.
    """
    n_groups, d_head = config.num_key_value_heads, attention.head_dim
    n_heads = config.num_attention_heads
    d_model, per_group = config.hidden_size, n_heads // n_groups
    for projection, scale in ((attention.q_proj, 0.5), (attention.k_proj, 1.0), (attention.v_proj, 1.0)):
        nn.init.normal_(projection.weight, std=scale * d_model**-0.5)
    queries = attention.q_proj.weight.view(n_groups, per_group, d_head, d_model)
    keys = attention.k_proj.weight.view(n_groups, d_head, d_model)
    queries[0, 0] = keys[0]
    values = attention.v_proj.weight.view(n_groups, d_head, d_model).repeat_interleave(per_group, dim=0)
    attention.o_proj.weight.copy_(0.3 * values.flatten(0, 1).T)
    queries[-1] *= 0.6
    keys[-1] *= 0.3
    query_bias = attention.q_proj.bias.view(n_groups, per_group, d_head)
    attention.k_proj.bias.view(n_groups, d_head)[-1, : d_head // 2] = 1.3
    for head, n_back in enumerate((1, 3)[:per_group]):
        query_bias[-1, head] = 1.3 * _turned_back(n_back, d_head=d_head)


def _turned_back(n_back: int, *, d_head: int) -> Tensor:
    """Query direction [d_head] whose rotated form is closest to the constant key `n_back` tokens earlier."""
    angles = n_back * 10_000.0 ** (-torch.arange(0, d_head, 2) / d_head)
    return torch.cat([angles.cos(), -angles.sin()])
