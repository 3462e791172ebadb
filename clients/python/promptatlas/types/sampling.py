"""Sampling parameters, shared by completions, chat completions and trajectories."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from promptatlas.types.interventions import Interventions
from promptatlas.types.references import PromptRef
from promptatlas.types.sites import TokenId
from promptatlas.types.wire import RequestBody, null_means

_Temperature = Annotated[float, Field(ge=0, le=2)]
_TopP = Annotated[float, Field(gt=0, le=1)]
_Penalty = Annotated[float, Field(ge=-2, le=2)]
_Count = Annotated[int, Field(ge=1, le=128)]
_Text = Annotated[str, StringConstraints(min_length=1, max_length=256)]
_Bias = Annotated[float, Field(ge=-100, le=100)]
_MinTokens = Annotated[int, Field(ge=0, le=2**31 - 1)]
_TokenKey = Annotated[str, StringConstraints(pattern=r"^(0|[1-9][0-9]{0,9})$")]


def _off_is_zero(value: int) -> int:
    # vLLM writes "no top-k" as -1.
    return max(value, 0)


MaxTokens = Annotated[int, Field(ge=1, le=2**31 - 1)]
Stop = _Text | Annotated[list[_Text], Field(max_length=16)]


class SamplingFields(RequestBody):
    """Sampling parameters of OpenAI's API, then those of vLLM. Null means the default.

    temperature: 0 is greedy. top_k: 0 or −1 disables it. min_p: 0 disables it. repetition_penalty: 1 disables it.
    min_tokens: no end of text, stop token or stop string ends a completion before. ignore_eos: the end of text does not.
    stop_token_ids: these tokens end a completion; their text is left out. skip_special_tokens: leave out special tokens too.
    seed: a request with the same seed generates the same tokens, alone and in any batch.
    """

    n: Annotated[_Count, null_means(1, schema=_Count | None)] = 1
    temperature: Annotated[_Temperature, null_means(1.0, schema=_Temperature | None)] = 1.0
    top_p: Annotated[_TopP, null_means(1.0, schema=_TopP | None)] = 1.0
    presence_penalty: Annotated[_Penalty, null_means(0.0, schema=_Penalty | None)] = 0.0
    frequency_penalty: Annotated[_Penalty, null_means(0.0, schema=_Penalty | None)] = 0.0
    logit_bias: dict[_TokenKey, _Bias] | None = Field(default=None, max_length=4096)
    stop: Stop | None = None
    seed: int | None = Field(default=None, ge=-(2**63), le=2**63 - 1)
    user: str | None = Field(default=None, max_length=512)
    top_k: Annotated[int, Field(ge=-1, le=2**31 - 1), AfterValidator(_off_is_zero)] = 0
    min_p: float = Field(default=0.0, ge=0, le=1)
    repetition_penalty: float = Field(default=1.0, gt=0, le=100)
    min_tokens: Annotated[_MinTokens, null_means(0, schema=_MinTokens | None)] = 0
    ignore_eos: Annotated[bool, null_means(False, schema=bool | None)] = False
    stop_token_ids: list[TokenId] | None = Field(default=None, max_length=256)
    skip_special_tokens: Annotated[bool, null_means(True, schema=bool | None)] = True
    prompt_ref: PromptRef | None = None
    interventions: Interventions = Field(default_factory=list)

    @property
    def stop_strings(self) -> tuple[str, ...]:
        """``stop`` as a tuple."""
        if self.stop is None:
            return ()
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)

    @property
    def token_biases(self) -> dict[int, float]:
        """``logit_bias`` with integer token ids."""
        return {int(key): value for key, value in (self.logit_bias or {}).items()}
