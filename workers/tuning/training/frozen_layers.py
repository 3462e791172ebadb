"""What lies below the lowest tuned layer: no prompt reaches it, so it is run once for each example and kept."""

from __future__ import annotations

import torch

from service.engine.attention.kv_cache import CompiledPrompt
from service.engine.attention.metadata import PackedMetadata, SequenceGroup
from service.engine.model.hooks import ForwardHooks, StopForward
from service.engine.model.hosted_model import HostedModel
from service.engine.model.sites import Tap
from service.engine.shapes import Float, Tensor
from workers.inputs.examples import EncodedExample


class FrozenLayers:
    """States that go into block ``layer``, by example, while they fit ``max_bytes``.

    Each example is run by itself, so that its states are bitwise the same whenever, and beside whichever others, they are
    needed: what was kept and what is run again after a restart cannot differ.
    """

    def __init__(self, model: HostedModel, *, layer: int, n_virtual: int, max_bytes: int) -> None:
        self._model = model
        self._layer = layer
        self._max_bytes = max_bytes
        none = (None,) * model.architecture.n_layers
        # The text stands behind the virtual positions, though it sees nothing there.
        self._hidden_prompt = CompiledPrompt(n_virtual, none, none)
        self._kept: dict[int, tuple[EncodedExample, Tensor]] = {}
        self.n_bytes = 0

    def states(self, example: EncodedExample) -> Float[Tensor, "length d_model"]:
        """Input of the block at each token that is read."""
        found = self._kept.get(id(example))
        if found is not None:
            return found[1]
        states = self._run(example)
        n_bytes = states.numel() * states.element_size()
        if self.n_bytes + n_bytes <= self._max_bytes:
            # The example is kept beside its states, so that its id stays its own.
            self._kept[id(example)] = (example, states)
            self.n_bytes += n_bytes
        return states

    @torch.no_grad()
    def _run(self, example: EncodedExample) -> Tensor:
        found: list[Tensor] = []
        plan = PackedMetadata([SequenceGroup(0, 1, example.length, self._hidden_prompt)])
        ids = torch.tensor(example.input_ids + example.target_ids[:-1])
        tap = Tap("resid_pre", self._layer)
        observer = ForwardHooks(
            self._model.module,
            self._model.architecture,
            reads=[tap],
            on_read=lambda _, states: found.append(states),
            stop=True,
        )
        try:
            with observer:
                self._model.forward(plan, ids=ids, positions=plan.positions)
        except StopForward:
            pass
        return found[0]
