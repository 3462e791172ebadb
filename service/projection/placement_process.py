"""``python -m service.projection.placement_process HOME PARENT``: projects points onto maps in a separate process.

umap-learn, openTSNE and numba take seconds and hundreds of megabytes to load, and a projection may take long: this keeps
both out of the API process. Requests arrive on stdin, responses leave on stdout, one at a time. Each is a line of JSON, with
float32 numbers after it where it has a ``shape``:

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
    """Serve requests until stdin ends."""
    die_with_parent(parent_pid)
    ignore_interrupts()
    responses = os.fdopen(os.dup(1), "wb")
    # Output that libraries print must not mix with the responses.
    os.dup2(2, 1)
    artifacts = ArtifactStore(home)
    maps = MapStore(artifacts, runs=RunStore(artifacts))
    serve(sys.stdin.buffer, responses, bases=BasisCache(lambda key: _load(maps, key)))


def serve(requests: BinaryIO, responses: BinaryIO, *, bases: BasisCache) -> None:
    """Process requests until the stream ends."""
    while line := requests.readline():
        request = json.loads(line)
        n, d = request["shape"]
        vectors = np.frombuffer(requests.read(4 * n * d), dtype=np.float32).reshape(n, d)
        header, numbers = _respond(request, vectors, bases=bases)
        responses.write(json.dumps(header).encode() + b"\n" + numbers)
        responses.flush()


def _respond(request: Mapping[str, Any], vectors: Any, *, bases: BasisCache) -> tuple[dict[str, Any], bytes]:
    try:
        placed = bases.get((request["map"], request["layer"])).place(vectors)
        return {"shape": list(placed.shape)}, np.ascontiguousarray(placed, dtype=np.float32).tobytes()
    except AtlasError as error:
        return {"error": type(error).__name__, "detail": error.detail}, b""
    except Exception:
        _log.exception("points could not be projected")
        return {
            "error": "EngineFault",
            "detail": "The points could not be projected; the server's log has the reason.",
        }, b""


def _load(maps: MapStore, key: Key) -> Basis:
    file = maps.basis(key[0], layer=key[1])
    return load_basis(file.tensors, facts=file.metadata)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
