"""Tensors over HTTP: rows in order, small and large, and nothing left behind."""

from __future__ import annotations

import contextlib
import json
import socket
from pathlib import Path
from typing import Any

import httpx
import torch
from safetensors import safe_open
from safetensors.torch import load

from tests.integration.conftest import AUTH
from tests.integration.running import Service, wait_until
from tests.integration.test_openai_client import upload_soft
from tests.integration.tiny_model import D_MODEL

LAST = {"model": "tiny", "sites": ["resid_post"], "layers": [-1]}


def read(http: httpx.Client, url: str = "/v1/activations", **fields: object) -> dict[str, torch.Tensor]:
    answer = http.post(url, json={**LAST, **fields})
    assert answer.status_code == 200, answer.text
    return load(answer.content)


def test_rows_of_a_batch_are_in_order_and_as_alone(http: httpx.Client) -> None:
    texts = [chr(97 + i) * (1 + i * 5 % 17) for i in range(23)]
    together = read(http, inputs=texts)
    offsets = together["row_offsets"].tolist()
    assert offsets == [sum(map(len, texts[:i])) for i in range(24)]
    for i in (0, 7, 22):
        alone = read(http, inputs=[texts[i]])["resid_post.2"]
        torch.testing.assert_close(together["resid_post.2"][offsets[i] : offsets[i + 1]], alone, rtol=0, atol=1e-4)


def test_a_result_names_its_prompt_and_the_request(http: httpx.Client, tmp_path: Path) -> None:
    upload_soft(http, "headed", seed=3)
    body = {**LAST, "inputs": ["ab"], "prompt_ref": "headed", "include_virtual": True}
    answer = http.post("/v1/activations", json=body, headers={"X-Request-ID": "mine"})
    path = tmp_path / "result.safetensors"
    path.write_bytes(answer.content)
    with safe_open(path, "pt") as file:
        metadata = json.loads(file.metadata()["promptatlas"])
        assert file.get_tensor("positions").tolist() == [-3, -2, -1, 0, 1]
        assert file.get_tensor("token_ids").tolist()[:3] == [-1, -1, -1]
    assert metadata["request_id"] == "mine"
    assert (metadata["prompt"]["ref"], metadata["prompt"]["n_virtual"]) == ("headed", 3)
    assert metadata["versions"]["torch"]


def test_bfloat16_survives_and_json_says_the_same(http: httpx.Client) -> None:
    half = read(http, inputs=["ab"], dtype="bfloat16")["resid_post.2"]
    assert half.dtype == torch.bfloat16
    answer = http.post(
        "/v1/activations", json={**LAST, "inputs": ["ab"], "dtype": "bfloat16"}, headers={"Accept": "application/json"}
    )
    assert torch.equal(torch.tensor(answer.json()["resid_post.2"]), half.float())


def test_a_trajectory_has_a_row_a_token(http: httpx.Client, tmp_path: Path) -> None:
    body = {**LAST, "inputs": ["abc", "d"], "max_tokens": 4, "temperature": 0, "n": 2}
    answer = http.post("/v1/trajectories", json=body)
    path = tmp_path / "result.safetensors"
    path.write_bytes(answer.content)
    found = load(answer.content)
    with safe_open(path, "pt") as file:
        inputs = json.loads(file.metadata()["promptatlas"])["inputs"]
    assert [(each["n_input"], each["n_generated"]) for each in inputs] == [(3, 4), (3, 4), (1, 4), (1, 4)]
    assert len(found["row_offsets"]) == 5
    assert found["resid_post.2"].shape == (int(found["row_offsets"][-1]), D_MODEL)
    assert torch.equal(found["logprobs"].isnan(), ~found["generated"])
    states = read(http, inputs=["abc"])["resid_post.2"]
    torch.testing.assert_close(found["resid_post.2"][:3], states, rtol=0, atol=1e-4)


def test_an_intervention_changes_what_stands_above_it(http: httpx.Client) -> None:
    from safetensors.torch import save

    push = torch.full((D_MODEL,), 3.0)
    spec = {"site": "resid_post", "layers": [1], "op": "add", "value": "push", "strength": 2.0, "positions": [1]}
    body = {"model": "tiny", "inputs": ["abc"], "sites": ["resid_post"], "layers": [1], "interventions": [spec]}
    files: dict[str, Any] = {
        "request": (None, json.dumps(body), "application/json"),
        "tensors": ("t", save({"push": push})),
    }
    changed = load(http.post("/v1/activations", files=files).content)["resid_post.1"]
    plain = read(http, inputs=["abc"], layers=[1])["resid_post.1"]
    expected = plain.clone()
    expected[1] += 2.0 * push
    torch.testing.assert_close(changed, expected, rtol=0, atol=1e-4)


def large() -> dict[str, object]:
    """About 37 MB: the logits of 36,000 tokens."""
    return {"model": "tiny", "inputs": ["x" * 2000] * 18, "sites": ["logits"]}


def test_a_large_result_comes_whole_and_leaves_no_file(http: httpx.Client, service: Service) -> None:
    found = load(http.post("/v1/activations", json=large()).content)
    assert found["logits"].shape == (36_000, 256)
    assert bool(found["logits"].isfinite().all())
    assert service.results == []


def test_a_client_that_leaves_in_the_middle_leaves_no_file(service: Service, http: httpx.Client) -> None:
    body = json.dumps(large()).encode()
    head = (
        f"POST /v1/activations HTTP/1.1\r\nHost: x\r\nAuthorization: {AUTH['Authorization']}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    host, _, port = service.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(head.encode() + body)
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
    # The memory goes back when the file is closed: the API process holds none of its pages open.
    wait_until(lambda: not any("results-" in target for target in open_files(service.api_pid)))
    assert service.results == []
    assert http.get("/health").status_code == 200


def open_files(pid: int) -> list[str]:
    links = Path(f"/proc/{pid}/fd")
    with contextlib.suppress(OSError):  # one closed while we look: look again
        return [str(link.readlink()) for link in links.iterdir()]
    return open_files(pid)


def test_what_is_too_large_is_refused_before_it_is_run(http: httpx.Client) -> None:
    body = {"model": "tiny", "inputs": ["x" * 8000] * 9, "sites": ["logits"]}
    estimate = http.post("/v1/activations/estimate", json=body).json()
    assert estimate["n_tokens"] == 72_000
    assert estimate["bytes"] > 64 << 20
    refused = http.post("/v1/activations", json=body)
    assert refused.status_code == 413
    assert str(64 << 20) in refused.json()["detail"].replace(",", "")


def test_json_over_four_mebibytes_is_refused(http: httpx.Client) -> None:
    body = {"model": "tiny", "inputs": ["x" * 5000], "sites": ["logits"]}
    refused = http.post("/v1/activations", json=body, headers={"Accept": "application/json"})
    assert refused.status_code == 413
    assert "safetensors" in refused.json()["detail"]
