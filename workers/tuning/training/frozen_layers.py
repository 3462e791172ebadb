"""Cache of the states below the lowest tuned layer, which do not depend on the prompts."""

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
    """Caches the inputs of block ``layer`` for each example, up to ``max_bytes``.

    Each example is run alone, so its states are bitwise the same in every batch. A resumed run therefore recomputes exactly
    the states of the interrupted one.
    """

    def __init__(self, model: HostedModel, *, layer: int, n_virtual: int, max_bytes: int) -> None:
        self._model = model
        self._layer = layer
        self._max_bytes = max_bytes
        none = (None,) * model.architecture.n_layers
        # Shifts the positions of the text by n_virtual. No layer has keys or values there.
        self._skipped_positions = CompiledPrompt(n_virtual, none, none)
        self._states: dict[int, tuple[EncodedExample, Tensor]] = {}
        self.n_bytes = 0

    def states(self, example: EncodedExample) -> Float[Tensor, "length d_model"]:
        """Input of the block at each input token of the example."""
        found = self._states.get(id(example))
        if found is not None:
            return found[1]
        states = self._run(example)
        n_bytes = states.numel() * states.element_size()
        if example.is_reused and self.n_bytes + n_bytes <= self._max_bytes:
            # The example is stored too, so that its id is not reused.
            self._states[id(example)] = (example, states)
            self.n_bytes += n_bytes
        return states

    @torch.no_grad()
    def _run(self, example: EncodedExample) -> Tensor:
        found: list[Tensor] = []
        metadata = PackedMetadata([SequenceGroup(0, 1, example.length, self._skipped_positions)])
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
                self._model.forward(metadata, ids=ids, positions=metadata.positions)
        except StopForward:
            pass
        return found[0]
