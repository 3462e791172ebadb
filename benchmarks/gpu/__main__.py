"""``python -m benchmarks.gpu``: the engine on one device, against the floors of its memory and arithmetic.

The models have random weights and the shapes of Llama 3.2 1B and Llama 3.1 8B. The floors use the bandwidth and the speed of
products that this command measures on the same device. ``make bench-gpu`` runs it.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import transformers

from benchmarks.gpu.floors import DeviceSpeed, measure
from benchmarks.gpu.shapes import SHAPES, build
from benchmarks.gpu.work import DeviceWork, Load, Row
from benchmarks.measuring.machine import describe

TINY = Load(n_rows=6, n_text=8, n_virtual=3, n_prompts=2, n_steps=4, n_members=2, batch_size=3)


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 2 without a device."""
    arguments = _parse(argv)
    device = torch.device(arguments.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("bench-gpu: no CUDA device was found; --device cpu --shape tiny tries the code", file=sys.stderr)
        return 2
    transformers.logging.set_verbosity_error()
    dtype = getattr(torch, arguments.dtype)
    records = []
    for name in arguments.shape or ["1b", "8b"]:
        is_tiny = name == "tiny"
        sizes = {"copied_bytes": 1 << 20, "product": 128} if is_tiny else {}
        speed = measure(device=device, dtype=dtype, **sizes)
        module = build(SHAPES[name], device=device, dtype=dtype)
        rows = DeviceWork(module, SHAPES[name], load=TINY if is_tiny else Load(), speed=speed).rows()
        print("\n".join(table(name, speed, rows)), flush=True)
        records.append(_record(name, device, speed, rows))
        del module
        gc.collect()
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(records, indent=1, ensure_ascii=False) + "\n")
    return 0


def table(name: str, speed: DeviceSpeed, rows: Sequence[Row]) -> list[str]:
    """A table in Markdown."""
    lines = [
        f"{name}: {speed.bandwidth / 1e12:.2f} TB/s, {speed.flops / 1e12:.1f} TFLOP/s, both measured",
        "",
        "| work | time | against | its time | ratio | goal |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        goal = "" if row.goal is None else f"at most {row.goal:g}"
        cells = [row.name, f"{1e3 * row.seconds:.3g} ms", row.against, f"{1e3 * row.against_s:.3g} ms"]
        lines.append("| " + " | ".join([*cells, f"{row.ratio:.3g}", goal]) + " |")
    return [*lines, ""]


def _record(name: str, device: torch.device, speed: DeviceSpeed, rows: Sequence[Row]) -> dict[str, Any]:
    named = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    return {
        "shape": name,
        "device": named,
        "speed": asdict(speed),
        "rows": [{**asdict(row), "ratio": row.ratio} for row in rows],
        "machine": asdict(describe(n_threads=torch.get_num_threads())),
    }


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--shape", action="append", choices=list(SHAPES), help="may be repeated; default: 1b and 8b")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float16", "float32"])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to FILE")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
