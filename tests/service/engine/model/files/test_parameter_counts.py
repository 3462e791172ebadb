from __future__ import annotations

from pathlib import Path

import pytest
import transformers

from service.engine.model.files import parameter_counts
from service.engine.model.files.gguf_conversion import CONVERSION
from service.engine.model.files.parameter_counts import count_in_folder, count_in_gguf
from tests.oracle.models import build_model


def test_a_folder_has_the_parameters_of_its_model(tmp_path: Path) -> None:
    model = build_model("llama")
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    assert count_in_folder(tmp_path) == sum(p.numel() for p in model.parameters())


def test_a_folder_without_readable_safetensors_has_no_number(tmp_path: Path) -> None:
    assert count_in_folder(tmp_path) is None
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    assert count_in_folder(tmp_path) is None


def test_a_conversion_in_the_cache_is_counted_instead_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build_model("llama")
    model.save_pretrained(tmp_path / "gguf" / f"abc-float32-{transformers.__version__}-{CONVERSION}")
    monkeypatch.setattr(parameter_counts, "read_header", lambda *_, **__: pytest.fail("the file was read"))
    assert count_in_gguf("no.gguf", revision="abc", cache=tmp_path) == sum(p.numel() for p in model.parameters())
