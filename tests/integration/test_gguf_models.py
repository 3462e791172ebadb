"""A GGUF file through a whole service: converted once, for the engine and for the work horses, and a bad one refused."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.queueing.embedded_redis import find_server
from tests.integration.running import PATIENCE_S, running_service
from tests.integration.test_maps import finished
from tests.oracle.gguf_files import reference_tokenizer, small_llama, write_gguf

TUNE: dict[str, Any] = {
    "model": "small",
    "dataset": "demo-arithmetic",
    "method": {"kind": "soft", "n_virtual": 3},
    "priors": [{"kind": "isotropic", "std": 0.1}],
    "seeds": [0],
    "optimizer": {"steps": 2, "batch_size": 2, "lr": 0.01},
    "eval": {"n": 2, "every": 2, "metrics": ["loss"]},
    "name": "sums",
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    tokenizer = reference_tokenizer()
    path = tmp_path / "small.gguf"
    write_gguf(path, model=small_llama(n_vocab=tokenizer.get_vocab_size()), tokenizer=tokenizer, quantisation="Q8_0")
    return path


@pytest.mark.skipif(find_server() is None, reason="no redis-server here")
def test_it_is_served_and_tuned_on(file: Path, tmp_path: Path) -> None:
    with running_service(tmp_path, models=f"small={file}", WORKERS="1", DEVICE="cpu") as service:
        service.wait_until_ready()
        with httpx.Client(base_url=service.url, timeout=60) as http:
            card = http.get("/v1/models/small").json()
            assert card["revision"] == hashlib.sha256(file.read_bytes()).hexdigest()
            (ref,) = finished(http, service, "tune", TUNE)["prompts"]
            body = {"model": f"small:{ref}", "prompt": "1 + 2 =", "max_tokens": 3, "temperature": 0, "ignore_eos": True}
            answer = http.post("/v1/completions", json=body)
            assert answer.status_code == 200
            assert answer.json()["usage"]["completion_tokens"] == 3
            chat = {"model": "small", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}
            assert http.post("/v1/chat/completions", json=chat).status_code == 200
        assert service.log.read_text().count("converting") == 1
        (folder,) = (path for path in (tmp_path / "store" / "cache" / "gguf").iterdir() if path.is_dir())
        assert (folder / "model.safetensors").is_file()


def test_a_truncated_file_ends_the_service_with_one_line(file: Path, tmp_path: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1000])
    with running_service(tmp_path, models=f"small={file}", DEVICE="cpu") as service:
        assert service.process.wait(PATIENCE_S) == 1
        (line,) = (line for line in service.log.read_text().splitlines() if "model cannot be hosted" in line)
        assert str(file) in line
        assert "damaged or truncated" in line
        assert "Traceback" not in service.log.read_text()
