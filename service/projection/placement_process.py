"""``python -m service.projection.placement_process HOME PARENT``: places points on maps, in a process of its own.

umap-learn, openTSNE and numba take seconds to load and hundreds of megabytes, and a point may take long to place: none of
that belongs into the process that answers requests. Over stdin and stdout, one request after another, each and each answer
a line of JSON and, where it says so, float32 numbers behind it:

    {"map": "run-…", "layer": 3, "shape": [2, 128]}    2·128 numbers
    {"shape": [2, 2]}                                  2·2 numbers
    {"error": "InvalidRequest", "detail": "…"}         nothing
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

from service.errors import AtlasError
from service.hosting.processes.process_setup import die_with_parent, ignore_interrupts
from service.projection.bases import Basis, load_basis
from service.projection.basis_cache import BasisCache, Key
from service.store.artifacts.store import ArtifactStore
from service.store.maps.store import MapStore
from service.store.runs.store import RunStore

_log = logging.getLogger(__name__)


def main(home: str, parent_pid: int) -> None:
    """Serve until stdin ends."""
    die_with_parent(parent_pid)
    ignore_interrupts()
    answers = os.fdopen(os.dup(1), "wb")
    # Whatever a library prints must not stand among the answers.
    os.dup2(2, 1)
    artifacts = ArtifactStore(home)
    maps = MapStore(artifacts, runs=RunStore(artifacts))
    serve(sys.stdin.buffer, answers, bases=BasisCache(lambda key: _load(maps, key)))


def serve(requests: BinaryIO, answers: BinaryIO, *, bases: BasisCache) -> None:
    """Answer requests until they end."""
    while line := requests.readline():
        asked = json.loads(line)
        n, d = asked["shape"]
        vectors = np.frombuffer(requests.read(4 * n * d), dtype=np.float32).reshape(n, d)
        header, numbers = _answer(asked, vectors, bases=bases)
        answers.write(json.dumps(header).encode() + b"\n" + numbers)
        answers.flush()


def _answer(asked: Mapping[str, Any], vectors: Any, *, bases: BasisCache) -> tuple[dict[str, Any], bytes]:
    try:
        placed = bases.get((asked["map"], asked["layer"])).place(vectors)
        return {"shape": list(placed.shape)}, np.ascontiguousarray(placed, dtype=np.float32).tobytes()
    except AtlasError as error:
        return {"error": type(error).__name__, "detail": error.detail}, b""
    except Exception:
        _log.exception("points could not be placed")
        return {"error": "EngineFault", "detail": "The points could not be placed; the server's log says why."}, b""


def _load(maps: MapStore, key: Key) -> Basis:
    file = maps.basis(key[0], layer=key[1])
    return load_basis(file.tensors, facts=file.metadata)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
