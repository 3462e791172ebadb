"""Batches on runs kept in memory, with real stores and a small model; and their files, read back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from service.planning.kinds.batch import result_file_id
from service.settings import Settings
from service.store.client_files import ClientFiles
from tests.service.engine.contract import World
from tests.workers.harvest.field import FakeCoordinator, Field, SharedFakeRun

RUN_ID = "run-1md3k0x9q2zfh7t0w"


class SmallBatch(Field):
    """A store with some prompts."""

    def __init__(self, world: World, home: Path) -> None:
        super().__init__(world, home)
        self.files = ClientFiles(self.artifacts)

    def input_of(self, lines: bytes) -> str:
        """Store an input file; its id."""
        path = self.home / "upload"
        path.write_bytes(lines)
        return self.files.create(path, filename="requests.jsonl", purpose="batch").id

    def batch(
        self, lines: bytes | Sequence[Mapping[str, Any]], *, coordinator: FakeCoordinator | None = None, **spec: Any
    ) -> SharedFakeRun:
        """A run over these bodies, or over these bytes; four requests a shard."""
        data = lines if isinstance(lines, bytes) else lines_of(lines)
        known = {"endpoint": "/v1/completions", "shard_requests": 4, "metadata": None, "completion_window": "24h"}
        run = SharedFakeRun(
            {"model": "small", "input_file_id": self.input_of(data), **known, **spec},
            {"small": self.world.hosted},
            self.artifacts,
            self.datasets,
            run_id=RUN_ID,
            settings=Settings(max_batch=3, max_waiting=3),
        )
        run.coordinator = coordinator or FakeCoordinator()
        return run

    def rows(self, suffix: str) -> list[dict[str, Any]]:
        """Lines of the output or of the errors."""
        stream, _ = self.files.open(result_file_id(RUN_ID, suffix))
        with stream:
            return [json.loads(line) for line in stream]


def lines_of(bodies: Sequence[Mapping[str, Any]], *, url: str = "/v1/completions") -> bytes:
    """An input file."""
    rows = [
        {"custom_id": f"r{i}", "method": "POST", "url": url, "body": {"model": "small", **body}}
        for i, body in enumerate(bodies)
    ]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()
