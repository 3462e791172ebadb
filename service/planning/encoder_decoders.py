"""Configurations of the models that only workers load. The service knows them by ``config.json`` alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from service.engine.model.encoder_decoder import EncoderDecoderShape
from service.errors import UnsupportedModel
from service.settings import ModelSource

_CONFIG = "config.json"


class EncoderDecoderConfigs:
    """The models of ``PROMPTATLAS_READ_MODELS``.

    Args:
        sources: names and locations; the configuration of a hub id is downloaded once.
    """

    def __init__(self, sources: Sequence[ModelSource]) -> None:
        self._sources = {source.name: source.path for source in sources}

    @property
    def names(self) -> list[str]:
        """In the order of the setting."""
        return list(self._sources)

    def get(self, name: str) -> EncoderDecoderShape | None:
        """Sites and sizes of a model; None if the setting has no such name.

        Raises:
            UnsupportedModel: its configuration cannot be read, or its architecture is not supported.
        """
        if name not in self._sources:
            return None
        return EncoderDecoderShape.of(_read_config(self._sources[name], name=name), label=name)


def _read_config(path: str, *, name: str) -> Mapping[str, Any]:
    try:
        found = json.loads(_config_path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise UnsupportedModel(f"{name}: its configuration cannot be read.") from None
    return found if isinstance(found, dict) else {}


def _config_path(path: str) -> Path:
    if (folder := Path(path).expanduser()).is_dir():
        return folder / _CONFIG
    if path.startswith((".", "/", "~")) or path.endswith(".gguf"):
        raise FileNotFoundError
    from huggingface_hub import hf_hub_download  # imported late: only hub ids need it

    try:
        return Path(hf_hub_download(path, _CONFIG))
    except Exception as error:  # the hub client raises many types
        raise OSError(str(error)) from error
