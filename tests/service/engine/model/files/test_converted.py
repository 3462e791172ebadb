"""Converted GGUF files: once per file, whole or not at all, whatever ends in between."""

from __future__ import annotations

import fcntl
import hashlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM

from service.engine.model.files import converted
from service.engine.model.files.converted import open_converted
from service.engine.model.files.gguf_conversion import CONVERSION
from service.engine.model.loading import load_pretrained
from service.errors import UnsupportedModel
from tests.service.engine.model.files.conftest import Write

REVISION = hashlib.sha256(b"weights").hexdigest()
NAME = f"{REVISION}-float32-{transformers.__version__}-{CONVERSION}"

Convert = Callable[..., None]


def write_two_files(file: Path, folder: Path, *, dtype: torch.dtype, label: str) -> None:
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(file.read_bytes())


def opened(file: Path, cache: Path | None, *, dtype: torch.dtype = torch.float32) -> dict[str, bytes]:
    """Contents of the converted folder."""
    with open_converted(str(file), revision=REVISION, dtype=dtype, cache=cache) as folder:
        return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"weights")
    return path


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The conversions, which write two small files."""
    seen: list[str] = []

    def convert(file: Path, folder: Path, *, dtype: torch.dtype, label: str) -> None:
        seen.append(str(dtype))
        write_two_files(file, folder, dtype=dtype, label=label)

    monkeypatch.setattr(converted, "convert", convert)
    return seen


def names(cache: Path) -> set[str]:
    return {path.name for path in (cache / "gguf").iterdir()}


def test_a_file_is_converted_once(file: Path, cache: Path, calls: list[str]) -> None:
    for _ in range(3):
        assert opened(file, cache) == {"config.json": b"{}", "model.safetensors": b"weights"}
    assert len(calls) == 1
    assert names(cache) == {NAME, f"{NAME}.lock"}


def test_each_dtype_has_its_own(file: Path, cache: Path, calls: list[str]) -> None:
    opened(file, cache)
    opened(file, cache, dtype=torch.bfloat16)
    assert calls == ["torch.float32", "torch.bfloat16"]


def test_another_version_of_transformers_converts_again(
    file: Path, cache: Path, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(file, cache)
    monkeypatch.setattr(f"{converted.__name__}.transformers.__version__", "99.0")
    opened(file, cache)
    assert len(calls) == 2


def test_of_simultaneous_starts_one_converts_and_the_others_wait(
    file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others_wait, n_calls = threading.Event(), 0

    def convert(file: Path, folder: Path, *, dtype: torch.dtype, label: str) -> None:
        nonlocal n_calls
        n_calls += 1
        assert others_wait.wait(60)
        write_two_files(file, folder, dtype=dtype, label=label)

    n_locking = 0
    real = fcntl.flock

    def flock(*arguments: Any) -> None:
        nonlocal n_locking
        n_locking += 1
        if n_locking == 4:
            others_wait.set()
        real(*arguments)

    monkeypatch.setattr(converted, "convert", convert)
    monkeypatch.setattr(fcntl, "flock", flock)
    found: list[dict[str, bytes]] = []
    threads = [threading.Thread(target=lambda: found.append(opened(file, cache))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert n_calls == 1
    assert found == [{"config.json": b"{}", "model.safetensors": b"weights"}] * 4


KILLED = """
import sys, time
from pathlib import Path
import torch
from service.engine.model.files import converted

def convert(file, folder, *, dtype, label):
    (folder / "model.safetensors").write_bytes(b"half")
    print("half", flush=True)
    time.sleep(600)

converted.convert = convert
with converted.open_converted(sys.argv[1], revision=sys.argv[2], dtype=torch.float32, cache=Path(sys.argv[3])):
    pass
"""


def test_a_killed_conversion_leaves_nothing_half(file: Path, cache: Path, calls: list[str]) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(file), REVISION, str(cache)], stdout=subprocess.PIPE, text=True
    ) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "half\n"
        finally:
            child.send_signal(signal.SIGKILL)
    assert NAME not in names(cache)
    assert len(names(cache)) == 2  # the lock and the half
    assert opened(file, cache) == {"config.json": b"{}", "model.safetensors": b"weights"}
    assert names(cache) == {NAME, f"{NAME}.lock"}


@pytest.mark.parametrize("error", [UnsupportedModel("no"), OSError(28, os.strerror(28)), KeyboardInterrupt()])
def test_a_conversion_that_fails_leaves_nothing(
    file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def convert(file: Path, folder: Path, *, dtype: torch.dtype, label: str) -> None:
        write_two_files(file, folder, dtype=dtype, label=label)
        raise error

    monkeypatch.setattr(converted, "convert", convert)
    with pytest.raises((UnsupportedModel, KeyboardInterrupt)) as raised:
        opened(file, cache)
    if isinstance(error, OSError):
        assert "No space left on device" in str(raised.value)
        assert str(file) in str(raised.value)
    assert names(cache) == {f"{NAME}.lock"}


def test_a_file_that_changes_during_its_conversion_is_refused(
    file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def convert(file: Path, folder: Path, *, dtype: torch.dtype, label: str) -> None:
        file.write_bytes(b"others")
        write_two_files(file, folder, dtype=dtype, label=label)

    monkeypatch.setattr(converted, "convert", convert)
    with pytest.raises(UnsupportedModel, match="changed while it was converted"):
        opened(file, cache)
    assert names(cache) == {f"{NAME}.lock"}


def test_a_cache_that_cannot_be_written_is_named(file: Path, cache: Path, calls: list[str]) -> None:
    cache.write_text("a file where the folder should be")
    with pytest.raises(UnsupportedModel, match="cannot be written"):
        opened(file, cache)


def test_without_a_cache_the_folder_is_temporary(file: Path, calls: list[str]) -> None:
    with open_converted(str(file), revision=REVISION, dtype=torch.float32, cache=None) as folder:
        assert (folder / "model.safetensors").read_bytes() == b"weights"
    assert not folder.exists()


def test_the_second_start_reads_the_converted_folder(
    write: Write, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write()
    first, tokenizer, revision = load_pretrained(str(path), device="cpu", dtype="float32", cache=cache)

    def convert(*_: Any, **__: Any) -> None:
        raise AssertionError("converted twice")

    monkeypatch.setattr(converted, "convert", convert)
    second, same, again = load_pretrained(str(path), device="cpu", dtype="float32", cache=cache)
    assert again == revision
    assert same.get_vocab() == tokenizer.get_vocab()
    for name, values in second.state_dict().items():
        assert torch.equal(values, first.state_dict()[name]), name
    # Any program can read it: it is an ordinary folder of transformers.
    plain: Any = AutoModelForCausalLM.from_pretrained(
        cache / "gguf" / f"{revision}-float32-{transformers.__version__}-1"
    )
    assert torch.equal(plain.lm_head.weight, first.state_dict()["lm_head.weight"])


def test_a_damaged_converted_model_is_named(write: Write, cache: Path) -> None:
    path = write()
    load_pretrained(str(path), device="cpu", dtype="float32", cache=cache)
    (folder,) = (entry for entry in (cache / "gguf").iterdir() if entry.is_dir())
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(UnsupportedModel) as raised:
        load_pretrained(str(path), device="cpu", dtype="float32", cache=cache)
    assert f"remove {folder}" in raised.value.detail
    assert "\n" not in raised.value.detail


def test_a_changed_file_is_converted_again(write: Write, cache: Path) -> None:
    path = write()
    _, _, before = load_pretrained(str(path), device="cpu", dtype="float32", cache=cache)
    write(edit=lambda tensors: tensors["output_norm.weight"].fill(2.0))
    module, _, after = load_pretrained(str(path), device="cpu", dtype="float32", cache=cache)
    assert after != before
    assert torch.equal(module.state_dict()["model.norm.weight"], torch.full((64,), 2.0))
