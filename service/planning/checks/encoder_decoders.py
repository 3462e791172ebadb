"""Models that only workers load, to read their states: known here by their configuration alone."""

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
        sources: their names and where they are; a hub's are asked for over the network, once.
    """

    def __init__(self, sources: Sequence[ModelSource]) -> None:
        self._sources = {source.name: source.path for source in sources}

    @property
    def names(self) -> list[str]:
        """In the order of the setting."""
        return list(self._sources)

    def get(self, name: str) -> EncoderDecoderShape | None:
        """A model's sites and sizes; None when there is none of that name.

        Raises:
            UnsupportedModel: it has no configuration that can be had, or is of a build that cannot be read.
        """
        if name not in self._sources:
            return None
        return EncoderDecoderShape.of(_config_of(self._sources[name], name=name), label=name)


def _config_of(path: str, *, name: str) -> Mapping[str, Any]:
    try:
        found = json.loads(_file_of(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise UnsupportedModel(f"{name}: its configuration cannot be read.") from None
    return found if isinstance(found, dict) else {}


def _file_of(path: str) -> Path:
    if (folder := Path(path).expanduser()).is_dir():
        return folder / _CONFIG
    if path.startswith((".", "/", "~")):
        raise FileNotFoundError
    from huggingface_hub import hf_hub_download  # only a hub id needs the network

    try:
        return Path(hf_hub_download(path, _CONFIG))
    except Exception as error:  # it has errors of many kinds
        raise OSError(str(error)) from error
