"""Calls about stored prompts, and the files that they are uploaded as."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import safetensors.numpy

from promptatlas.calls.call import SAFETENSORS, Body, Call, CallOptions, checked, json_body, nothing, options_of, reader
from promptatlas.calls.interventions import as_floats
from promptatlas.calls.system import page_params
from promptatlas.errors import NotFoundError, UnsafeFileError
from promptatlas.types import Alias, AliasBody, ContentFormat, ListPage, PromptHeader, PromptManifest, PromptRow
from promptatlas.types.forms import PromptKind, kind_of

ZIP = "application/zip"
_ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
# The same adapter must give the same bytes: the oldest time that a zip can hold, for every file.
_EPOCH = (1980, 1, 1, 0, 0, 0)


def prompts(limit: int | None, after: str | None, options: CallOptions) -> Call[ListPage[PromptRow]]:
    params = page_params(limit, after)
    parse = reader(ListPage[PromptRow])
    return Call(method="GET", path="/v1/prompts", parse=parse, params=params, **options_of(options))


def manifest(name: str, version: int | None, options: CallOptions) -> Call[PromptManifest]:
    return Call(method="GET", path=_path(name, version), parse=reader(PromptManifest), **options_of(options))


def content(name: str, version: int, form: ContentFormat, options: CallOptions) -> Call[None]:
    accept = SAFETENSORS if form == "native" else ZIP
    path = f"{_path(name, version)}/content"
    params = {"format": form}
    return Call(method="GET", path=path, parse=nothing, params=params, accept=accept, **options_of(options))


def delete(name: str, version: int, options: CallOptions) -> Call[None]:
    return Call(method="DELETE", path=_path(name, version), parse=nothing, **options_of(options))


def set_alias(name: str, alias: str, version: int, options: CallOptions) -> Call[Alias]:
    body = json_body(checked(AliasBody, {"version": version}))
    return Call(method="PUT", path=_alias_path(name, alias), parse=reader(Alias), body=body, **options_of(options))


def delete_alias(name: str, alias: str, options: CallOptions) -> Call[None]:
    return Call(method="DELETE", path=_alias_path(name, alias), parse=nothing, **options_of(options))


def upload(name: str, file: Body, base: str | None, options: CallOptions) -> Call[PromptManifest]:
    params = {"name": name} if base is None else {"name": name, "base": base}
    common = options_of(options, creates=True)
    parse = reader(PromptManifest)
    return Call(method="POST", path="/v1/prompts", parse=parse, params=params, body=file, **common)


def split_reference(name: str, version: int | str | None) -> tuple[str, int | str | None]:
    """Name and version or alias, out of ``name``, ``name@3`` or ``name@alias``; one beside them must be the only one."""
    bare, at, in_name = name.partition("@")
    if at and version is not None:
        raise ValueError(f"version: expected none beside {name!r}, got {version!r}")
    chosen = in_name if at else version
    return bare, int(chosen) if isinstance(chosen, str) and chosen.isdigit() else chosen


def required_version(name: str, version: int | None) -> tuple[str, int]:
    """As split_reference, with no default and no alias: what is deleted is named in full."""
    bare, found = split_reference(name, version)
    if not isinstance(found, int):
        raise ValueError(f"version: expected the number of the one meant, as in {bare + '@3'!r}, got {found!r}")
    return bare, found


def number_of(row: PromptRow, alias: str) -> int:
    """The version that an alias stands for."""
    if alias not in row.aliases:
        raise NotFoundError(f"no alias {alias!r} of prompt {row.name!r}", status=404, title="Not found")
    return row.aliases[alias]


def prompt_file(
    tensors: Mapping[str, Any] | None,
    path: str | Path | None,
    peft_dir: str | Path | None,
    *,
    header: Mapping[str, Any],
) -> Body:
    """The file to upload, from the one source that was given.

    header: ``base``, ``where``, ``notes`` of tensors; a file and an adapter bring their own.
    """
    given = [
        name for name, value in (("tensors", tensors), ("path", path), ("peft_dir", peft_dir)) if value is not None
    ]
    if len(given) != 1:
        raise ValueError(f"expected one of tensors, path and peft_dir, got {' and '.join(given) or 'none'}")
    if tensors is not None:
        return _native_file(tensors, header)
    if peft_dir is not None:
        return Body(content=_adapter_zip(Path(peft_dir)), content_type=ZIP)
    file = Path(str(path))
    return Body(content=file.read_bytes(), content_type=ZIP if file.suffix == ".zip" else SAFETENSORS)


def _native_file(tensors: Mapping[str, Any], header: Mapping[str, Any]) -> Body:
    fields = {name: value for name, value in header.items() if value is not None}
    checked_header = checked(PromptHeader, {**fields, "kind": _kind_of(tensors)})
    arrays = {name: as_floats(value) for name, value in tensors.items()}
    return Body(
        content=safetensors.numpy.save(arrays, metadata={"promptatlas": json.dumps(checked_header)}),
        content_type=SAFETENSORS,
    )


def _kind_of(tensors: Mapping[str, Any]) -> PromptKind:
    try:
        return kind_of(tensors)
    except ValueError as error:
        raise ValueError(f"tensors: {error}") from None


def _adapter_zip(folder: Path) -> bytes:
    missing = [name for name in _ADAPTER_FILES if not (folder / name).is_file()]
    if missing == ["adapter_model.safetensors"] and (folder / "adapter_model.bin").exists():
        raise UnsafeFileError(
            "expected adapter_model.safetensors, got adapter_model.bin, which is pickle: save it again"
        )
    if missing:
        raise FileNotFoundError(f"expected a PEFT adapter with {' and '.join(_ADAPTER_FILES)}, missing: {missing}")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in _ADAPTER_FILES:
            archive.writestr(zipfile.ZipInfo(name, date_time=_EPOCH), (folder / name).read_bytes())
    return buffer.getvalue()


def _path(name: str, version: int | None) -> str:
    path = f"/v1/prompts/{quote(name, safe='')}"
    return path if version is None else f"{path}/versions/{version}"


def _alias_path(name: str, alias: str) -> str:
    return f"{_path(name, None)}/aliases/{quote(alias, safe='')}"
