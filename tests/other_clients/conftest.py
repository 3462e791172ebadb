"""One service with the demo model for all clients, and what plain transformers says."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

import httpx
import pytest
import torch
from safetensors.torch import save

from tests.integration.running import running_service
from tests.other_clients.clients_environment import READY, ROOT, Clients
from tests.other_clients.plain_model import PlainModel
from tests.other_clients.scripts.report import MODEL, PROMPT

KEY = "key-of-other-clients"
D_MODEL = 128


@pytest.fixture(scope="session")
def clients(tmp_path_factory: pytest.TempPathFactory, soft: torch.Tensor) -> Iterator[Clients]:
    if not READY.exists():
        pytest.skip(
            f"there is no environment of other clients in {READY.parent.name}: run make clients, with a package source"
        )
    folder = tmp_path_factory.mktemp("clients")
    keys = f"you:admin:{hashlib.sha256(KEY.encode()).hexdigest()}"
    # Few rows at once, so that a queue can be filled.
    # Of keys: more than the server takes, so that a full server refuses first.
    limits = {"MAX_BATCH": "4", "MAX_WAITING": "128", "MAX_ROWS_PER_KEY": "400", "MAX_TIMEOUT_S": "240", "WORKERS": "1"}
    with running_service(folder, models=f"demo={ROOT / 'demo' / 'model'}", API_KEYS=keys, **limits) as service:
        service.wait_until_ready()
        _upload(soft, url=service.url)
        yield Clients(url=service.url, key=KEY, folder=folder)


@pytest.fixture(scope="session")
def soft() -> torch.Tensor:
    """A soft prompt `[n_virtual, d_model]` as large as embeddings."""
    return torch.randn(3, D_MODEL, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="session")
def plain(soft: torch.Tensor) -> PlainModel:
    return PlainModel(ROOT / "demo" / "model", soft=soft)


def _upload(soft: torch.Tensor, *, url: str) -> None:
    data = save({"soft": soft}, metadata={"promptatlas": json.dumps({"kind": "soft", "base": MODEL})})
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/vnd.safetensors"}
    answer = httpx.post(f"{url}/v1/prompts", params={"name": PROMPT}, content=data, headers=headers)
    assert answer.status_code == 201, answer.text
