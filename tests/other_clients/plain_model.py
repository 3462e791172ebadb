"""Expected answers by plain transformers, without the service."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.other_clients.scripts.report import N_TOKENS


class PlainModel:
    """A model and its tokenizer. soft: virtual tokens `[n, d_model]` of a tuned prompt."""

    def __init__(self, folder: Path, *, soft: torch.Tensor) -> None:
        self._soft = soft
        self.continuation = cache(self._continuation)
        self._model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self._tokenizer = AutoTokenizer.from_pretrained(folder)

    def answer(self, question: str, *, tuned: bool = False) -> str:
        """The greedy answer to one turn of a chat."""
        turns = [{"role": "user", "content": question}]
        text = self._tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        return self.continuation(text, tuned=tuned)

    def n_tokens(self, text: str) -> int:
        return len(self._ids(text)[0])

    def logprobs(self, text: str) -> list[float]:
        """Log-probabilities of all tokens but the first."""
        ids = self._ids(text)
        with torch.no_grad():
            logprobs = self._model(ids).logits[0].log_softmax(-1)
        return [float(logprobs[i, token]) for i, token in enumerate(ids[0, 1:])]

    def embedding(self, text: str) -> list[float]:
        """The mean over the tokens of the states after the final norm."""
        with torch.no_grad():
            states: Any = self._model.model(self._ids(text)).last_hidden_state[0]
        found: list[float] = states.mean(0).tolist()
        return found

    def _continuation(self, text: str, *, tuned: bool = False) -> str:
        """The greedy continuation, up to an end of text or the limit of the scripts. tuned: under the tuned prompt."""
        with torch.no_grad():
            embeds = self._model.get_input_embeddings()(self._ids(text))
            if tuned:
                embeds = torch.cat([self._soft[None], embeds], dim=1)
            mask = torch.ones(embeds.shape[:2], dtype=torch.long)
            out = self._model.generate(
                inputs_embeds=embeds, attention_mask=mask, max_new_tokens=N_TOKENS, do_sample=False
            )
        return str(self._tokenizer.decode(out[0], skip_special_tokens=True))

    def _ids(self, text: str) -> torch.Tensor:
        return torch.tensor([self._tokenizer(text, add_special_tokens=False)["input_ids"]])
