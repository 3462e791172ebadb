"""``client.embeddings``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from promptatlas.resources._async.completions import Prompt
from promptatlas.resources.options import PromptChoice, model_request
from promptatlas.transport._async.sender import AsyncSender
from promptatlas.transport.call import Call, CallOptions, reader
from promptatlas.types import EmbeddingList, EmbeddingRequest

if TYPE_CHECKING:
    from typing_extensions import Unpack


class EmbeddingOptions(CallOptions, total=False):
    """Options of embeddings; see ``promptatlas.types.EmbeddingRequest``."""

    prompt_ref: PromptChoice | None
    site: str
    layer: int
    pool: Literal["mean", "last"]
    encoding_format: Literal["float", "base64"]
    user: str


class AsyncEmbeddings:
    """Embeddings of texts."""

    def __init__(self, sender: AsyncSender) -> None:
        self._sender = sender

    async def create(
        self,
        *,
        model: str,
        input: Prompt,  # noqa: A002 (the name that OpenAI's clients use)
        **options: Unpack[EmbeddingOptions],
    ) -> EmbeddingList:
        """One vector per text: by default the mean over its tokens of the last hidden state, after the final norm.

        Args:
            input: texts, or lists of token ids.
            options: see ``promptatlas.types.EmbeddingRequest``; ``timeout_s``, ``request_id``.

        Raises:
            InvalidRequestError: a field is unknown or out of range; nothing was sent.
            PromptAtlasError: see ``promptatlas.errors``.
        """
        given: dict[str, Any] = {"model": model, "input": input}
        request = model_request(EmbeddingRequest, given=given, options=options)
        call = Call(method="POST", path="/v1/embeddings", parse=reader(EmbeddingList), **request)
        return await self._sender.send(call)
