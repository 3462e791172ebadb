from __future__ import annotations

import asyncio
import io
import json
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.errors import DamagedArtifact, DeadlineExceeded, InvalidRequest, Unavailable
from service.projection.bases import Basis, FitSettings, fit_basis
from service.projection.basis_cache import BasisCache
from service.projection.placement import PlacementProcess
from service.projection.placement_process import serve
from service.store.artifacts.store import ArtifactStore
from service.store.artifacts.tensor_codec import encode
from service.store.maps.store import MAP, MapFacts, MapStore, StoredMap, basis_path
from service.store.runs.store import RunStore


def cloud(n: int, d: int = 6, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def put(home: Path, method: Any) -> tuple[MapStore, StoredMap, Basis]:
    """A map of one layer."""
    artifacts = ArtifactStore(str(home))
    runs = RunStore(artifacts)
    maps = MapStore(artifacts, runs=runs)
    basis, _, _ = fit_basis(cloud(40), settings=FitSettings(method=method, n_neighbors=5))
    writer = runs.claim(runs.create("map", spec={}).id, worker="w")
    writer.put_output(basis_path(3), encode(basis.tensors(), metadata=dict(basis.facts())))
    facts = MapFacts(
        model="m",
        revision="r",
        method=method,
        n_components=2,
        layers=[3],
        sources=[],
        n_points=40,
        quality=[],
        added=[0, 0],
        max_tokens=9,
    )
    writer.put_output(MAP, facts.to_bytes())
    return maps, maps.get(writer.record.id), basis


@asynccontextmanager
async def placer_of(maps: MapStore, home: Path, **options: Any) -> AsyncIterator[PlacementProcess]:
    placer = PlacementProcess(maps, home=str(home), **options)
    try:
        yield placer
    finally:
        await placer.close()


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(work())


def test_points_are_placed_in_a_process_of_their_own_as_the_basis_places_them(tmp_path: Path) -> None:
    # By t-SNE, because UMAP is compiled anew by every process, which takes a while.
    maps, found, basis = put(tmp_path, "tsne")
    new = cloud(3, seed=1)

    async def work() -> None:
        async with placer_of(maps, tmp_path) as placer:
            placed = await placer.place(found, layer=3, vectors=new, timeout_s=200)
            np.testing.assert_array_equal(placed, basis.place(new))
            with pytest.raises(InvalidRequest, match="shape"):
                await placer.place(found, layer=3, vectors=cloud(2, 5), timeout_s=200)
            with pytest.raises(DamagedArtifact):
                await placer.place(found, layer=4, vectors=new, timeout_s=200)
            assert placer.is_running

    run(work)


def test_a_linear_map_needs_no_process(tmp_path: Path) -> None:
    maps, found, basis = put(tmp_path, "pca")

    async def work() -> None:
        async with placer_of(maps, tmp_path, command=("false",)) as placer:
            placed = await placer.place(found, layer=3, vectors=cloud(3, seed=1), timeout_s=1)
            np.testing.assert_array_equal(placed, basis.place(cloud(3, seed=1)))
            assert not placer.is_running

    run(work)


def fake(body: str) -> dict[str, Any]:
    """A process that answers by ``body``, with ``asked`` and ``vectors`` of each request."""
    program = (
        "import json, sys, time, numpy as np\n"
        "for line in iter(sys.stdin.buffer.readline, b''):\n"
        "    asked = json.loads(line); n, d = asked['shape']\n"
        "    vectors = np.frombuffer(sys.stdin.buffer.read(4 * n * d), np.float32).reshape(n, d)\n"
        f"    {body}\n"
        "    sys.stdout.buffer.write(json.dumps({'shape': [n, d]}).encode() + b'\\n' + vectors.tobytes())\n"
        "    sys.stdout.buffer.flush()\n"
    )
    return {"command": (sys.executable, "-c", program)}


def test_a_process_that_takes_too_long_is_replaced(tmp_path: Path) -> None:
    maps, found, _ = put(tmp_path, "tsne")

    async def work() -> None:
        async with placer_of(maps, tmp_path, **fake("time.sleep(60 * (n == 2))")) as placer:
            with pytest.raises(DeadlineExceeded):
                await placer.place(found, layer=3, vectors=cloud(2), timeout_s=0.5)
            assert not placer.is_running
            np.testing.assert_array_equal(await placer.place(found, layer=3, vectors=cloud(3), timeout_s=60), cloud(3))

    run(work)


def test_a_process_that_dies_is_told_of_and_replaced(tmp_path: Path) -> None:
    maps, found, _ = put(tmp_path, "tsne")

    async def work() -> None:
        async with placer_of(maps, tmp_path, **fake("n == 2 and sys.exit(1)")) as placer:
            with pytest.raises(Unavailable):
                await placer.place(found, layer=3, vectors=cloud(2), timeout_s=60)
            np.testing.assert_array_equal(await placer.place(found, layer=3, vectors=cloud(3), timeout_s=60), cloud(3))

    run(work)


def test_whoever_goes_away_leaves_the_next_ones_answer_alone(tmp_path: Path) -> None:
    maps, found, _ = put(tmp_path, "tsne")

    async def work() -> None:
        async with placer_of(maps, tmp_path, **fake("time.sleep(0.3 * (n == 2))")) as placer:
            first = asyncio.ensure_future(placer.place(found, layer=3, vectors=cloud(2), timeout_s=60))
            second = asyncio.ensure_future(placer.place(found, layer=3, vectors=cloud(4, seed=4), timeout_s=60))
            await asyncio.sleep(0.1)
            first.cancel()
            np.testing.assert_array_equal(await second, cloud(4, seed=4))

    run(work)


def test_a_fault_of_the_basis_is_an_answer_too() -> None:
    class Broken:
        def place(self, vectors: np.ndarray) -> np.ndarray:
            raise ZeroDivisionError

        def tensors(self) -> dict[str, np.ndarray]:
            return {}

    asked = json.dumps({"map": "run-1", "layer": 0, "shape": [1, 2]}).encode() + b"\n" + bytes(8)
    answers = io.BytesIO()
    serve(io.BytesIO(asked * 2), answers, bases=BasisCache(lambda key: Broken()))  # type: ignore[arg-type,return-value]
    first, second = map(json.loads, answers.getvalue().splitlines())
    assert first["error"] == second["error"] == "EngineFault"
    assert "ZeroDivision" not in first["detail"]


def test_bases_used_lately_are_kept_within_bounds() -> None:
    loads: list[tuple[str, int]] = []

    def load(key: tuple[str, int]) -> Basis:
        loads.append(key)
        return fit_basis(cloud(9), settings=FitSettings())[0]

    one = sum(values.nbytes for values in load(("a", 0)).tensors().values())
    kept = BasisCache(load, max_bytes=2 * one)
    for name in ("a", "b", "a", "c", "a", "b"):
        kept.get((name, 0))
    assert [name for name, _ in loads[1:]] == ["a", "b", "c", "b"]
    assert kept.n_bytes == 2 * one
