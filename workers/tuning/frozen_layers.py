"""What lies below the lowest tuned layer: no prompt reaches it, so it is run once for each example and kept."""

from __future__ import annotations

import torch

from service.engine.kv import CompiledPrompt
from service.engine.model import HostedModel
from service.engine.observe import Observer, StopForward
from service.engine.plans import SequenceGroup, SequencePlan
from service.engine.shapes import Float, Tensor
from service.engine.sites import Tap
from workers.tuning.encoding import EncodedExample


class FrozenLayers:
    """States that go into block ``layer``, by example, while they fit ``max_bytes``.

    Each example is run by itself, so that its states are bitwise the same whenever, and beside whichever others, they are
    needed: what was kept and what is run again after a restart cannot differ.
    """

    def __init__(self, model: HostedModel, *, layer: int, n_virtual: int, max_bytes: int) -> None:
        self._model = model
        self._layer = layer
        self._max_bytes = max_bytes
        none = (None,) * model.anatomy.n_layers
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
        plan = SequencePlan([SequenceGroup(0, 1, example.length, self._hidden_prompt)])
        ids = torch.tensor(example.input_ids + example.target_ids[:-1])
        tap = Tap("resid_pre", self._layer)
        observer = Observer(
            self._model.module,
            self._model.anatomy,
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
