"""Ranks: the processes that compute one model together, on one host.

Rank 0 is the process that serves requests. It starts the others, sends them messages over their standard input, and ends when
one of them is lost, so that whoever restarts it starts all of them. The tensors inside a forward travel by torch.distributed:
gloo on a CPU, NCCL with one device for each rank.
"""

from __future__ import annotations

import logging
import os
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import IO, BinaryIO

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import FileStore

from service.engine.parallel.codec import decode, encode
from service.engine.parallel.division import SETTING, Division
from service.engine.parallel.messages import Message
from service.errors import UnsupportedModel

FOLLOWER = "service.engine.follower"
RANK_LOST = 4
"""Exit status of rank 0 after the loss of another rank."""

DEFAULT_TIMEOUT_S = 300.0
_CLOSE_S = 10.0
_LENGTH = struct.Struct("<Q")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Place:
    """One process of a group. store: the file by which ranks find each other. timeout_s: how long a rank waits for the others."""

    rank: int
    size: int
    store: str
    n_threads: int
    timeout_s: float

    def arguments(self) -> list[str]:
        """The arguments of a process in this place."""
        return [str(value) for value in (self.rank, self.size, self.store, self.n_threads, self.timeout_s)]

    @classmethod
    def of_arguments(cls, arguments: Sequence[str]) -> Place:
        """The place with these arguments."""
        rank, size, store, n_threads, timeout_s = arguments
        return cls(int(rank), int(size), store, int(n_threads), float(timeout_s))


class Ranks:
    """The other ranks, as rank 0 has them.

    Args:
        processes: ranks 1, 2, …; their standard input is a pipe.
        on_lost: ends this process, given the reason.
    """

    def __init__(
        self, processes: Sequence[subprocess.Popen[bytes]], *, on_lost: Callable[[str], None] | None = None
    ) -> None:
        self.size = len(processes) + 1
        self.n_models = 0
        self._processes = processes
        self._on_lost = on_lost or end_process
        self._is_closing = False
        for rank, process in enumerate(processes, start=1):
            threading.Thread(target=self._watch, args=(rank, process), name=f"rank {rank}", daemon=True).start()

    @property
    def division(self) -> Division:
        """The division of a model before its parts are known."""
        return Division(self.size, 0)

    @property
    def pids(self) -> list[int]:
        """Process ids of the ranks 1, 2, …"""
        return [process.pid for process in self._processes]

    def add_model(self) -> int:
        """Number of the model that all ranks have loaded last."""
        self.n_models += 1
        return self.n_models - 1

    def send(self, model: int, message: Message) -> None:
        """Send a message to all other ranks. If one of them is lost, this process ends."""
        data = encode(model, message)
        for rank, process in enumerate(self._processes, start=1):
            assert process.stdin is not None
            try:
                write_frame(process.stdin, data)
            except OSError as error:
                self.lost(f"rank {rank} takes no messages: {error}")

    def lost(self, reason: str) -> None:
        """End this process: the ranks no longer compute the same."""
        if not self._is_closing:
            self._on_lost(reason)

    def close(self) -> None:
        """End the other ranks and leave the group."""
        self._is_closing = True
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.close()
        for process in self._processes:
            _end(process)
        dist.destroy_process_group()

    def _watch(self, rank: int, process: subprocess.Popen[bytes]) -> None:
        status = process.wait()
        self.lost(f"rank {rank} ended with status {status}")


def start_ranks(
    size: int,
    *,
    device: str = "auto",
    timeout_s: float = DEFAULT_TIMEOUT_S,
    on_lost: Callable[[str], None] | None = None,
) -> Ranks:
    """Start the ranks 1 to ``size`` - 1 and join them as rank 0. A process can do this once.

    Raises:
        UnsupportedModel: there are not enough devices, or the group cannot be formed.
    """
    _check_devices(size, device=device)
    n_threads = max(1, torch.get_num_threads() // size)
    try:
        store = _store_file()
        places = [Place(rank, size, store, n_threads, timeout_s) for rank in range(size)]
        ranks = Ranks([_start(place) for place in places[1:]], on_lost=on_lost)
        join(places[0])
    except (OSError, RuntimeError) as error:
        raise UnsupportedModel(f"{SETTING}: the {size} ranks cannot be joined ({error}).") from error
    return ranks


def join(place: Place) -> None:
    """Join the group as this rank. It has one CUDA device, if there are any, and its share of the threads otherwise."""
    on_cuda = torch.cuda.is_available()
    if on_cuda:
        torch.cuda.set_device(place.rank)
    else:
        torch.set_num_threads(place.n_threads)
    # transformers reads the first three. The ports of the ranks have no authentication, so other hosts must not reach them.
    os.environ.update(RANK=str(place.rank), LOCAL_RANK=str(place.rank), WORLD_SIZE=str(place.size))
    if sys.platform.startswith("linux"):
        os.environ.update(GLOO_SOCKET_IFNAME="lo", NCCL_SOCKET_IFNAME="lo")
    dist.init_process_group(
        backend="nccl" if on_cuda else "gloo",
        store=FileStore(place.store, place.size),
        rank=place.rank,
        world_size=place.size,
        timeout=timedelta(seconds=place.timeout_s),
        device_id=torch.device("cuda", place.rank) if on_cuda else None,
    )


def write_frame(stream: IO[bytes], data: bytes) -> None:
    """Write one message."""
    stream.write(_LENGTH.pack(len(data)))
    stream.write(data)
    stream.flush()


def read_frames(stream: BinaryIO) -> Iterator[tuple[int, Message]]:
    """The messages of a stream, until its end."""
    while len(head := stream.read(_LENGTH.size)) == _LENGTH.size:
        (length,) = _LENGTH.unpack(head)
        data = stream.read(length)
        if len(data) < length:
            return
        yield decode(data)


def end_process(reason: str) -> None:
    """End this process at once: its threads may wait for a lost rank forever."""
    logger.critical("tensor parallelism: %s; this process ends", reason)
    logging.shutdown()
    os._exit(RANK_LOST)


def _store_file() -> str:
    """An empty file for the group's store. Unlike a store over TCP, it listens on no interface."""
    if hasattr(os, "memfd_create"):
        return f"/proc/{os.getpid()}/fd/{os.memfd_create('ranks')}"  # it ends with this process
    descriptor, path = tempfile.mkstemp(prefix="promptatlas-ranks-")
    os.close(descriptor)
    return path


def _start(place: Place) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", FOLLOWER, *place.arguments()], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(_CLOSE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _check_devices(size: int, *, device: str) -> None:
    if not torch.cuda.is_available():
        return
    if device not in ("auto", "cuda"):
        raise UnsupportedModel(
            f"{SETTING}: expected the device auto or cuda on a host with CUDA devices, got {device}."
        )
    if (n_devices := torch.cuda.device_count()) < size:
        raise UnsupportedModel(f"{SETTING}: expected at least {size} CUDA devices, one for each rank, got {n_devices}.")
