"""``POST /v1/embeddings``: pooled activations of texts, in OpenAI's format."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Depends, Request, Response
from promptatlas.types import EmbeddingList, EmbeddingRequest
from promptatlas.types.embeddings import Embedding, EmbeddingUsage
from promptatlas.types.sites import NAMED_SITES, parse_alias

from service.api.requests.auth import require
from service.api.requests.bodies import JSON_TYPE, json_of, request_body
from service.api.requests.deadlines import Deadline, while_connected
from service.api.requests.engine_requests import new_request_id
from service.api.requests.prompt_resolution import ResolvedModel, resolve_request
from service.api.responses.openapi import ENGINE_ERRORS, problems
from service.api.responses.tensors import too_large_for_json
from service.api.services import Services, ServicesDep
from service.completions.generation import inputs_of
from service.engine.inputs import TextInput
from service.engine.requests import Capture, CaptureSpec, Tokenize
from service.errors import InvalidRequest
from service.hosting.ipc.messages import Submit
from service.store.artifacts.tensor_codec import decode

router = APIRouter(tags=["embeddings"], dependencies=[Depends(require("read"))])

_NOT_TENSORS_OF_ROWS = frozenset({"row_offsets", "positions", "token_ids"})


@router.post(
    "/v1/embeddings",
    response_model=EmbeddingList,
    responses=problems(*ENGINE_ERRORS, openai=True),
    openapi_extra=request_body(EmbeddingRequest),
)
async def embeddings(
    request: Request,
    services: ServicesDep,
    spec: Annotated[EmbeddingRequest, Depends(json_of(EmbeddingRequest))],
    deadline_s: Deadline,
) -> Response:
    """Return one vector per text: by default the mean over its tokens of the last hidden state, after the final norm."""
    resolved = await resolve_request(services, spec)
    _check_site(spec)
    try:
        inputs = await while_connected(request, _tokens(services, spec, resolved, deadline_s=deadline_s))
        rows = await while_connected(request, _rows(request, services, spec, inputs, resolved, deadline_s=deadline_s))
    except InvalidRequest as error:
        raise _as_sent(error, spec) from None
    body = await asyncio.to_thread(_body, rows, spec=spec, n_tokens=sum(map(len, inputs)))
    _check_size(len(body), limit=services.settings.max_json_bytes)
    return Response(body, media_type=JSON_TYPE)


def _check_site(spec: EmbeddingRequest) -> None:
    alias = parse_alias(spec.site)
    site = alias[0] if alias is not None else next((one for one in NAMED_SITES if one.name == spec.site), None)
    if site is not None and site.name == "attn_probs":
        raise InvalidRequest("expected a site with one vector per token, got attn_probs.", loc=("site",))
    needs_layer = site is not None and site.layered and (alias is None or alias[1] is None)
    if needs_layer and spec.layer is None:
        raise InvalidRequest(f"expected the index of a block for site {spec.site!r}, got none.", loc=("layer",))
    if spec.layer is not None and not needs_layer:
        raise InvalidRequest(f"expected no layer for site {spec.site!r}, got {spec.layer}.", loc=("layer",))


async def _tokens(
    services: Services, spec: EmbeddingRequest, resolved: ResolvedModel, *, deadline_s: float
) -> list[Sequence[int]]:
    """Token ids of each input, as the model reads them."""
    given = inputs_of(spec.inputs)
    texts = tuple(item for item in given if isinstance(item, str))
    if not texts:
        return [item for item in given if not isinstance(item, str)]
    question = Tokenize(request_id=new_request_id(), texts=texts)
    found = await services.engine.call_tokenizer(resolved.model, request=question, deadline_s=deadline_s)
    tokenized = iter(found.token_ids)
    return [next(tokenized) if isinstance(item, str) else item for item in given]


async def _rows(
    request: Request,
    services: Services,
    spec: EmbeddingRequest,
    inputs: Sequence[Sequence[int]],
    resolved: ResolvedModel,
    *,
    deadline_s: float,
) -> npt.NDArray[Any]:
    """The vectors `[n_inputs, width]`."""
    pooled = CaptureSpec(
        sites=(spec.site,),
        layers="all" if spec.layer is None else (spec.layer,),
        positions="all" if spec.pool == "mean" else "last",
        reduce="mean" if spec.pool == "mean" else None,
    )
    ids: tuple[TextInput, ...] = tuple(tuple(item) for item in inputs)
    capture = Capture(request_id=new_request_id(), inputs=ids, capture=pooled, prompt=resolved.prompt)
    job = Submit(model=resolved.model, request=capture)
    async with services.engine_of(request).open(job, deadline_s=deadline_s) as exchange:
        result = await exchange.result()
    try:
        _check_size(result.n_bytes, limit=services.settings.max_json_bytes)
        tensors = decode(result.read(0, n_bytes=result.n_bytes)).tensors
    finally:
        result.close()
    (rows,) = (array for name, array in tensors.items() if name not in _NOT_TENSORS_OF_ROWS)
    return np.asarray(rows, dtype="<f4")


def _check_size(n_bytes: int, *, limit: int) -> None:
    if n_bytes > limit:
        raise too_large_for_json(n_bytes, limit=limit, instead="fewer inputs, or encoding_format base64")


def _body(rows: npt.NDArray[Any], *, spec: EmbeddingRequest, n_tokens: int) -> bytes:
    as_base64 = spec.encoding_format == "base64"
    data = [
        Embedding(index=i, embedding=base64.b64encode(row.tobytes()).decode() if as_base64 else row.tolist())
        for i, row in enumerate(rows)
    ]
    usage = EmbeddingUsage(prompt_tokens=n_tokens, total_tokens=n_tokens)
    return EmbeddingList(data=data, model=spec.model, usage=usage).model_dump_json().encode()


def _as_sent(error: InvalidRequest, spec: EmbeddingRequest) -> InvalidRequest:
    """The engine's error, with the name of the field that the client sent."""
    if error.loc is None:
        return error
    names: dict[str | int, tuple[str | int, ...]] = {
        "inputs": ("input", *error.loc[1:]) if spec.has_several_inputs else ("input",),
        "sites": ("site",),
        "layers": ("layer",),
    }
    return type(error)(error.detail, loc=names.get(error.loc[0], error.loc))
