"""``GET /v1/models``: base models, and each prompt on them as ``base:name``."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from fastapi import APIRouter, Depends
from promptatlas.types import ModelCard, ModelEntry, ModelList

from service.api.requests.auth import require
from service.api.requests.prompt_resolution import resolve_model
from service.api.responses.openapi import problems
from service.api.services import ServicesDep
from service.errors import NotFound
from service.hosting.ipc.messages import EngineState
from service.store.listing import MAX_LIMIT
from service.store.prompts.manifests import PromptSummary
from service.store.prompts.store import PromptStore

router = APIRouter(tags=["models"], dependencies=[Depends(require("read"))])

_CARD_FIELDS = (
    "n_layers",
    "d_model",
    "n_heads",
    "n_kv_heads",
    "d_head",
    "vocab_size",
    "n_positions",
    "dtype",
    "dtype_reason",
    "device",
    "revision",
    "attention",
    "architecture",
    "has_chat_template",
)


@router.get("/v1/models", responses=problems(401, 403, 500, 503))
async def list_models(services: ServicesDep) -> ModelList:
    """List all values of a request's `model`."""
    state = services.engine.last_state()
    bases = [ModelEntry(id=name, created=0, root=name) for name in sorted(state.models)]
    served = await asyncio.to_thread(_served_prompts, services.prompts, state)
    return ModelList(data=[*bases, *served])


@router.get("/v1/models/{model_id}", responses=problems(401, 403, 404, 422, 500, 503))
async def get_model(services: ServicesDep, model_id: str) -> ModelCard:
    """Return the full card of a model: `base`, or `base:ref` with any prompt reference."""
    state = services.engine.last_state()
    resolved = await resolve_model(services.prompts, state=state, model=model_id)
    parent = None if resolved.prompt is None else resolved.model
    return _card(resolved.card, name=model_id, root=resolved.model, parent=parent)


def _card(card: Mapping[str, Any], *, name: str, root: str, parent: str | None) -> ModelCard:
    shown = {field: card[field] for field in _CARD_FIELDS}
    return ModelCard(id=name, created=0, root=root, parent=parent, sites=list(card["sites"]), **shown)


def _served_prompts(store: PromptStore, state: EngineState) -> list[ModelEntry]:
    found: list[ModelEntry] = []
    after: str | None = None
    while True:
        page = store.list_names(limit=MAX_LIMIT, after=after)
        found.extend(filter(None, (_entry(store, row) for row in page.items if row.base in state.models)))
        if not page.has_more:
            return found
        after = page.next


def _entry(store: PromptStore, row: PromptSummary) -> ModelEntry | None:
    try:
        created_at = store.get(row.name, version=row.latest).created_at
    except NotFound:  # deleted after the page was read
        return None
    created = int(datetime.fromisoformat(created_at.replace("Z", "+00:00")).timestamp())
    return ModelEntry(id=f"{row.base}:{row.name}", created=created, parent=row.base, root=row.base)
