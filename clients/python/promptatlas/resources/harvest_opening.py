"""Opening of a harvest on a server, written twice: a harvest is read without ``await``, which decides when shards are fetched."""

from __future__ import annotations

from pathlib import Path

from promptatlas.resources.run_requests import artifact_request
from promptatlas.results.harvests.files import check_shard, target_of
from promptatlas.results.harvests.harvest import Harvest, folder_in, read_manifest
from promptatlas.transport._async.sender import AsyncSender
from promptatlas.transport._sync.sender import Sender
from promptatlas.transport.call import CallOptions


def open_harvest(
    sender: Sender, run_id: str, *, content: bytes, cache: str | Path | None, options: CallOptions
) -> Harvest:
    """A harvest that fetches each shard when it is first used.

    Args:
        content: of ``manifest.json``.
        cache: folder that keeps the shards, under the run's id; None: a temporary one.
    """
    manifest = read_manifest(content)
    return Harvest(
        manifest,
        folder=folder_in(cache, manifest, content),
        fetch=lambda path, to: sender.fetch(artifact_request(run_id, path, options=options), to),
    )


async def open_harvest_async(
    sender: AsyncSender, run_id: str, *, content: bytes, cache: str | Path | None, options: CallOptions
) -> Harvest:
    """A harvest with all shards fetched already; arguments as in open_harvest."""
    manifest = read_manifest(content)
    harvest = Harvest(manifest, folder=folder_in(cache, manifest, content), fetch=None)
    for number, shard in enumerate(manifest.shards):
        if not harvest.has_shard(number):
            target = target_of(harvest.folder, shard.path)
            target.parent.mkdir(parents=True, exist_ok=True)
            await sender.fetch(artifact_request(run_id, shard.path, options=options), target)
            check_shard(target, shard)
    return harvest
