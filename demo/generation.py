"""Greedy completions with plain transformers, batched by equal length and therefore without padding."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerFast


@dataclass(frozen=True)
class LoadedModel:
    """The demo model and its tokenizer, loaded with plain transformers."""

    model: LlamaForCausalLM
    tokenizer: PreTrainedTokenizerFast

    @property
    def end_id(self) -> int:
        """Token id of end of text."""
        return int(self.tokenizer.eos_token_id)

    def encode(self, text: str) -> list[int]:
        """Token ids of a text."""
        return list(self.tokenizer(text)["input_ids"])


def load_model(folder: Path) -> LoadedModel:
    """The model of a folder in float32, frozen and in evaluation mode."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return LoadedModel(model.eval().requires_grad_(False), AutoTokenizer.from_pretrained(folder))


def complete(loaded: LoadedModel, *, inputs: Sequence[str], n_new: int, batch_size: int = 64) -> list[str]:
    """The greedy completion of each input, up to end of text or `n_new` tokens.

    An output that is truncated at `n_new` tokens ends with the mark ` [cut]`.
    """
    by_length: dict[int, list[int]] = defaultdict(list)
    encoded = [loaded.encode(text) for text in inputs]
    for index, token_ids in enumerate(encoded):
        by_length[len(token_ids)].append(index)
    outputs = [""] * len(inputs)
    for indices in by_length.values():
        for start in range(0, len(indices), batch_size):
            chosen = indices[start : start + batch_size]
            completed = _complete_equal(loaded, rows=[encoded[index] for index in chosen], n_new=n_new)
            for index, output in zip(chosen, completed, strict=True):
                outputs[index] = output
    return outputs


def _complete_equal(loaded: LoadedModel, *, rows: list[list[int]], n_new: int) -> list[str]:
    token_ids = torch.tensor(rows)
    with torch.inference_mode():
        generated = loaded.model.generate(
            token_ids, attention_mask=torch.ones_like(token_ids), do_sample=False, max_new_tokens=n_new
        )
    outputs = []
    for row in generated[:, token_ids.shape[1] :].tolist():
        finished = loaded.end_id in row
        kept = row[: row.index(loaded.end_id)] if finished else row
        outputs.append(str(loaded.tokenizer.decode(kept)) + ("" if finished else " [cut]"))
    return outputs
