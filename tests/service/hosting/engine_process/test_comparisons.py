"""Comparisons of states in the engine process."""

from __future__ import annotations

from typing import Any

import numpy as np

from service.engine.comparisons import LensDivergence
from service.hosting.engine_process.engine_loop import EngineLoop
from service.hosting.ipc.messages import CompareStates, Finished
from service.hosting.ipc.tensor_results import OpenResult
from service.store.artifacts.tensor_codec import decode
from tests.service.hosting.engine_process.test_engine_loop import error_of, peer, reply
from tests.service.hosting.engine_process.test_prompt_fetches import receive
from tests.service.hosting.ipc.peer import Peer

__all__ = ["peer"]  # a fixture


def test_states_are_compared_in_the_engine_process(loop: EngineLoop, peer: Peer) -> None:
    states = np.arange(6, dtype=np.float32).reshape(3, 2)
    request: Any = LensDivergence(request_id="x", states=states, others=np.zeros_like(states))  # type: ignore[arg-type]
    receive(loop, peer, CompareStates(model="m", request=request))
    (finished,) = reply(peer).updates
    assert isinstance(finished, Finished)
    assert finished.result is not None
    opened = OpenResult(finished.result)
    assert decode(opened.read(0, n_bytes=opened.n_bytes)).tensors["kl"].tolist() == [1, 5, 9]
    opened.close()
    refused: Any = LensDivergence(request_id="y", states=states, others=states[:1])  # type: ignore[arg-type]
    receive(loop, peer, CompareStates(model="m", request=refused))
    assert error_of(reply(peer)).detail == "no states"
