"""Loading of model files, from a local directory, a GGUF file or a hub id."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.distributed import DistributedConfig

from service.engine.model.dtype import DtypeChoice, choose_dtype
from service.engine.model.files.converted import gguf_revision, open_converted
from service.engine.model.files.gguf_header import is_gguf
from service.engine.model.files.parameter_counts import count_in_folder, count_in_gguf
from service.engine.model.files.revisions import Revisions
from service.engine.parallel.division import require_divisible, require_plan
from service.engine.parallel.messages import LoadModel
from service.engine.parallel.ranks import Ranks
from service.errors import UnsupportedModel

PLACEMENTS = ("balanced", "balanced_low_0", "sequential")

DeviceMap = str | Mapping[str, int | str]
"""A ``device_map`` of transformers: a strategy, one device, or the devices of modules."""


def load_pretrained(
    path: str,
    *,
    device: str,
    dtype: str,
    device_map: DeviceMap | None = None,
    cache: Path | None = None,
    ranks: Ranks | None = None,
) -> tuple[nn.Module, Any, str]:
    """The model, its tokenizer, and its revision.

    Args:
        path: directory, GGUF file or hub id.
        device: of all modules, unless there is a ``device_map``.
        dtype: of the weights, or auto (``choose_dtype``).
        device_map: passed to ``from_pretrained``.
        cache: a folder of this host for revisions and converted GGUF files. None: nothing is kept.
        ranks: load rank 0's part, while the others load theirs; ``device`` and ``device_map`` are then not used.

    Raises:
        UnsupportedModel: the files are missing, or are not those of a decoder-only causal language model.
    """
    revisions = _revisions(cache)
    kind = find_dtype(path, device=device, dtype=dtype, device_map=device_map, cache=cache)
    if is_gguf(path):
        revision = gguf_revision(path, revisions=revisions)
        with open_converted(path, revision=revision, dtype=kind.dtype, cache=cache) as folder:
            try:
                module, tokenizer = _load_causal(
                    folder, label=path, device=device, dtype=kind.name, device_map=device_map, ranks=ranks
                )
            except (UnsupportedModel, SafetensorError) as error:
                reason = _first_line(error)
                raise UnsupportedModel(
                    f"{path}: the converted model is damaged ({reason}); remove {folder} to convert the file again."
                ) from error
        return module, tokenizer, revision
    folder, _ = find_model(path)
    module, tokenizer = _load_causal(
        folder, label=path, device=device, dtype=kind.name, device_map=device_map, ranks=ranks
    )
    return module, tokenizer, revisions.of_folder(folder)


def find_dtype(
    path: str, *, device: str, dtype: str, device_map: DeviceMap | None = None, cache: Path | None = None
) -> DtypeChoice:
    """The dtype that ``load_pretrained`` would load with these arguments.

    Raises:
        UnsupportedModel: the dtype has another name, or the number of parameters is needed and there is no such model.
    """

    def count() -> int | None:
        if is_gguf(path):
            return count_in_gguf(path, revision=gguf_revision(path, revisions=_revisions(cache)), cache=cache)
        return count_in_folder(find_model(path)[0])

    return choose_dtype(dtype, on_cuda=_is_on_cuda(device, device_map), count_parameters=count)


def _is_on_cuda(device: str, device_map: DeviceMap | None) -> bool:
    return torch.cuda.is_available() and (device if device_map is None else device_map) != "cpu"


def _revisions(cache: Path | None) -> Revisions:
    return Revisions(None if cache is None else cache / "revisions")


def _load_causal(
    folder: Path, *, label: str, device: str, dtype: str, device_map: DeviceMap | None, ranks: Ranks | None
) -> tuple[nn.Module, Any]:
    config = _read_config(folder, label=label)
    if getattr(config, "is_encoder_decoder", False):
        raise UnsupportedModel(
            f"{label}: expected a decoder-only model, got {config.model_type}, which is an encoder-decoder."
        )
    if ranks is not None:
        require_plan(config, size=ranks.size, label=label)
        ranks.send(ranks.n_models, LoadModel(name=label, folder=str(folder), dtype=dtype, size=ranks.size))
        return load_part(folder, label=label, dtype=dtype, size=ranks.size)
    # Every architecture has the "eager" implementation; the packed attention replaces it later.
    return load_as(
        AutoModelForCausalLM,
        folder,
        label=label,
        device=device,
        dtype=dtype,
        device_map=device_map,
        attn_implementation="eager",
    )


def load_part(folder: Path, *, label: str, dtype: str, size: int) -> tuple[nn.Module, Any]:
    """This rank's part of a causal model that ``size`` ranks load, and its tokenizer.

    Raises:
        UnsupportedModel: it cannot be loaded, or not be divided by so many ranks.
    """
    module, tokenizer = load_as(
        AutoModelForCausalLM, folder, label=label, device="auto", dtype=dtype, size=size, attn_implementation="eager"
    )
    dist.barrier()  # the folder may be removed after rank 0 has loaded the model
    plan: Any = module.tp_plan
    require_divisible(module, plan, size=size)
    return module, tokenizer


def find_model(path: str) -> tuple[Path, Any]:
    """The folder of a model's files, downloaded if the path is a hub id, and its configuration.

    Raises:
        UnsupportedModel: the folder contains no transformers model.
    """
    folder = _local_folder(path)
    return folder, _read_config(folder, label=path)


def _read_config(folder: Path, *, label: str) -> Any:
    try:
        return AutoConfig.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise UnsupportedModel(f"{label}: expected a transformers model, found none ({_first_line(error)}).") from error


def load_as(
    auto: Any,
    folder: Path,
    *,
    label: str,
    device: str,
    dtype: str,
    device_map: DeviceMap | None = None,
    size: int = 1,
    **options: Any,
) -> tuple[nn.Module, Any]:
    """The model, loaded by one of transformers' Auto classes onto its device, and its tokenizer.

    Args:
        auto: e.g. ``AutoModelForCausalLM``.
        label: name of the model in error messages.
        size: number of ranks that load a part each, on their own devices.
        options: further arguments of ``from_pretrained``.

    Raises:
        UnsupportedModel: it cannot be loaded.
    """
    device_map = device if device_map is None and device in PLACEMENTS else device_map
    where: dict[str, Any] = {} if device_map is None else {"device_map": device_map}
    if size > 1:
        where = {"distributed_config": DistributedConfig(tp_size=size)}
    on_cuda = _is_on_cuda(device, device_map)
    kind = choose_dtype(dtype, on_cuda=on_cuda, count_parameters=lambda: count_in_folder(folder))
    try:
        module = auto.from_pretrained(folder, dtype=kind.dtype, **options, **where)
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError, ImportError) as error:
        raise UnsupportedModel(f"{label}: cannot be loaded ({_first_line(error)}).") from error
    return (module if where else module.to(_device(device))), tokenizer


def _local_folder(path: str) -> Path:
    if (folder := Path(path).expanduser()).is_dir():
        return folder
    if path.startswith((".", "/", "~")):
        raise UnsupportedModel(f"{path}: no such directory.")
    from huggingface_hub import snapshot_download  # only hub ids need the network

    try:
        patterns = ["*.safetensors", "*.json", "*.model", "*.txt", "*.jinja"]
        return Path(snapshot_download(path, allow_patterns=patterns))
    except Exception as error:
        raise UnsupportedModel(
            f"{path}: expected a directory or the id of a model on the hub ({_first_line(error)})."
        ) from error


def _device(device: str) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
