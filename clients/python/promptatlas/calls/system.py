"""Calls about the server itself."""

from __future__ import annotations

from urllib.parse import quote

from promptatlas.calls.call import Call, CallOptions, options_of, reader
from promptatlas.types import Capabilities, Health, ListPage, ModelCard, ModelEntry, Ready


def page_params(limit: int | None, after: str | None) -> dict[str, str]:
    """Query of one page of a list; the server chooses what is not given."""
    params = {} if limit is None else {"limit": str(limit)}
    return params if after is None else {**params, "after": after}


def models(limit: int | None, after: str | None, options: CallOptions) -> Call[ListPage[ModelEntry]]:
    params = page_params(limit, after)
    parse = reader(ListPage[ModelEntry])
    return Call(method="GET", path="/v1/models", parse=parse, params=params, **options_of(options))


def model(model_id: str, options: CallOptions) -> Call[ModelCard]:
    path = f"/v1/models/{quote(model_id, safe=':@')}"
    return Call(method="GET", path=path, parse=reader(ModelCard), **options_of(options))


def capabilities(options: CallOptions) -> Call[Capabilities]:
    return Call(method="GET", path="/v1/capabilities", parse=reader(Capabilities), **options_of(options))


def health(options: CallOptions) -> Call[Health]:
    return Call(method="GET", path="/health", parse=reader(Health), **options_of(options))


def ready(options: CallOptions) -> Call[Ready]:
    # A server that is not ready says so with 503, and which part is to blame is what was asked.
    parse = reader(Ready)
    common = options_of(options)
    return Call(method="GET", path="/ready", parse=parse, retries=False, accepted_errors=(503,), **common)
