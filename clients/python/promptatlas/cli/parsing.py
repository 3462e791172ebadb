"""Parsing of option values."""

from __future__ import annotations

import sys
from typing import Any, Literal

import typer


def layers(text: str) -> list[int] | Literal["all"]:
    """``all``, or block indices as in ``2,5`` or ``-1``."""
    return "all" if text == "all" else _integers(text, option="--layers", expected="all, or indices as in 2,5")


def positions(text: str) -> Any:
    """``all``, ``last``, positions as in ``0,-1``, or a slice as in ``2:5``."""
    if text in ("all", "last"):
        return text
    expected = "all, last, positions as in 0,-1 or a slice as in 2:5"
    if ":" not in text:
        return _integers(text, option="--positions", expected=expected)
    ends = text.split(":")
    try:
        start, stop = (int(end) if end else None for end in ends)
    except ValueError as error:
        raise typer.BadParameter(f"--positions: expected {expected}, got {text!r}") from error
    return {"start": start, "stop": stop}


def reduction(text: str | None) -> Any:
    """``mean``, ``norm``, ``project:MAP``, or the best tokens: ``lens:K``, ``nearest:K``."""
    if text is None or text in ("mean", "norm"):
        return text
    kind, colon, name = text.partition(":")
    if kind == "project" and colon and name:
        return {"project": name}
    if kind in ("lens", "nearest") and name.isdecimal() and int(name) > 0:
        return {kind: int(name)}
    raise typer.BadParameter(f"--reduce: expected mean, norm, project:MAP, lens:K or nearest:K, got {text!r}")


def prompt_choice(reference: str | None, mix: list[str] | None, concat: list[str] | None) -> dict[str, Any]:
    """The field ``prompt_ref`` from ``--prompt-ref``, ``--mix`` and ``--concat``; no field for the model without a prompt."""
    options = {"--prompt-ref": reference, "--mix": mix, "--concat": concat}
    chosen = [name for name, value in options.items() if value]
    if len(chosen) > 1:
        raise typer.BadParameter(f"expected one of --prompt-ref, --mix and --concat, got {' and '.join(chosen)}")
    if mix:
        return {"prompt_ref": {"mix": [_part(text) for text in mix]}}
    if concat:
        return {"prompt_ref": {"concat": concat}}
    return {} if reference is None else {"prompt_ref": reference}


def texts(given: list[str]) -> list[str]:
    """The texts; ``-`` is replaced by standard input."""
    return [sys.stdin.read() if text == "-" else text for text in given]


def given(**options: Any) -> dict[str, Any]:
    """The options that are not None; the server has defaults for the others."""
    return {name: value for name, value in options.items() if value is not None}


def _part(text: str) -> dict[str, Any]:
    reference, _, weight = text.rpartition("=")
    try:
        return {"ref": reference, "weight": float(weight)}
    except ValueError as error:
        raise typer.BadParameter(f"--mix: expected REF=WEIGHT, got {text!r}") from error


def _integers(text: str, *, option: str, expected: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise typer.BadParameter(f"{option}: expected {expected}, got {text!r}") from error
