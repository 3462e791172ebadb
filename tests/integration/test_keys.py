"""A service whose settings and keys are in files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from promptatlas import Client, RateLimitError, RetryPolicy
from transformers import AutoTokenizer

from service.queueing.embedded_redis import find_server
from tests.integration.running import Service, get, running_service, wait_until

pytestmark = pytest.mark.skipif(find_server() is None, reason="no redis-server here")

MAX_STEP_TOKENS = 8


def record(name: str, **limits: int) -> str:
    digest = hashlib.sha256(f"secret-{name}".encode()).hexdigest()
    return json.dumps({"name": name, "scope": "read", "sha256": digest, **limits})


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer secret-{name}"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("configured")


@pytest.fixture(scope="module")
def configured(model_path: Path, folder: Path) -> Iterator[Service]:
    (folder / "keys.jsonl").write_text(
        f"{record('ann', tokens_per_minute=10**6)}\n{record('few', requests_per_minute=1)}\n"
    )
    (folder / "secrets").mkdir()
    (folder / "secrets" / "api_keys_file").write_text("keys.jsonl\n")
    (folder / "atlas.toml").write_text(
        f'models = {{ tiny = "{model_path}" }}\nworkers = 1\nmax_batch = 3\nport = 1\nmax_step_tokens = {MAX_STEP_TOKENS}\n'
    )
    with running_service(
        folder, models="", WORKERS="", MAX_WAITNG="5", CONFIG="atlas.toml", SECRETS_DIR="secrets"
    ) as service:
        service.wait_until_ready()
        yield service


def test_files_configure_the_service_and_its_workers(configured: Service) -> None:
    limits = get(f"{configured.url}/v1/capabilities", headers=bearer("ann")).json()
    assert limits["max_batch"] == 3
    # The worker has the number, the store and the embedded Redis of the service, none of which is in its environment.
    wait_until(lambda: get(f"{configured.url}/ready").json()["workers"]["status"] == "ok")
    assert "PROMPTATLAS_MAX_WAITNG" in configured.log.read_text()
    assert "nearest=PROMPTATLAS_MAX_WAITING" in configured.log.read_text()


@pytest.mark.parametrize("is_split", [False, True], ids=["one forward", "several forwards"])
def test_activations_count_the_tokens_of_their_inputs(configured: Service, model_path: Path, is_split: bool) -> None:
    tokenizer = AutoTokenizer.from_pretrained(model_path)
    texts = ["the quick brown fox jumps over the lazy dog", "jumps"] if is_split else ["fox", "dog", "fox"]
    lengths = [len(ids) for ids in tokenizer(texts)["input_ids"]]
    assert (max(lengths) > MAX_STEP_TOKENS) is is_split
    body = {"model": "tiny", "inputs": texts, "sites": ["resid_post"], "layers": [0], "positions": "last"}

    def left() -> int:
        response = httpx.post(f"{configured.url}/v1/activations", json=body, headers=bearer("ann"), timeout=120)
        assert response.status_code == 200, response.text
        return int(response.headers["x-ratelimit-remaining-tokens"])

    before, after = left(), left()
    if after > before:  # the minute has ended in between
        before, after = after, left()
    assert before - after == sum(lengths)


def test_the_sdk_raises_the_limit_of_a_key(configured: Service) -> None:
    with Client(base_url=configured.url, api_key="secret-few", retries=RetryPolicy(n_retries=0)) as client:

        def list_models(n: int) -> None:
            for _ in range(n):
                client.models.list()

        with pytest.raises(RateLimitError) as caught:
            list_models(3)  # the minute may end in between
        assert 0 < (caught.value.retry_after_s or 0) <= 60


def test_keys_are_added_and_removed_while_the_service_runs(configured: Service, folder: Path) -> None:
    def status(name: str) -> int:
        return get(f"{configured.url}/v1/models", headers=bearer(name)).status_code

    assert (status("ann"), status("new")) == (200, 401)
    (folder / "keys.new").write_text(f"{record('new')}\n")
    (folder / "keys.new").rename(folder / "keys.jsonl")
    wait_until(lambda: (status("ann"), status("new")) == (401, 200))
    (folder / "keys.jsonl").write_text("broken\n")
    wait_until(lambda: get(f"{configured.url}/ready").json()["keys"]["status"] == "lost")
    assert status("new") == 200
