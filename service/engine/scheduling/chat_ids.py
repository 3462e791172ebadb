"""Token ids of chat messages, by the model's chat template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from service.errors import InvalidRequest


def chat_ids(tokenizer: Any, messages: Sequence[Mapping[str, Any]]) -> tuple[int, ...]:
    """Token ids of a conversation that the model is to continue.

    Raises:
        InvalidRequest: the tokenizer has no chat template, or the template rejects the messages.
    """
    if getattr(tokenizer, "chat_template", None) is None:
        raise InvalidRequest("this model's tokenizer has no chat template; use /v1/completions.", loc=("messages",))
    try:
        text = tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
    except Exception as error:
        # A template may raise anything: it is code of the model's author, run on the client's messages.
        raise InvalidRequest(
            f"the chat template rejects these messages: {str(error)[:200]}", loc=("messages",)
        ) from error
    ids = tuple(tokenizer(text, add_special_tokens=False)["input_ids"])
    if not ids:
        raise InvalidRequest("the chat template gives no tokens for these messages.", loc=("messages",))
    return ids
