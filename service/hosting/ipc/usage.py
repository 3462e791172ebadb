"""Usage of one request: tokens and rows, as far as the engine has reported them."""

from __future__ import annotations

from service.engine.requests import Delta, Generate, RowDone
from service.hosting.ipc.messages import Reply, Submit


class UsageTally:
    """Adds up the replies of the engine to one request, also to one that is cancelled."""

    def __init__(self, job: Submit) -> None:
        request = job.request
        self._n = request.n if isinstance(request, Generate) else 1
        self._echo = isinstance(request, Generate) and request.echo
        self._n_input: tuple[int, ...] | None = None
        self._reported: dict[int, int] = {}
        self._ended: dict[int, int] = {}

    def add(self, reply: Reply) -> None:
        """Add one reply."""
        if reply.n_input is not None:
            self._n_input = reply.n_input
        for update in reply.updates:
            if isinstance(update, Delta):
                self._reported[update.row] = self._reported.get(update.row, 0) + len(update.token_ids)
            elif isinstance(update, RowDone):
                self._ended[update.row] = update.n_generated

    @property
    def is_known(self) -> bool:
        """Whether the engine has replied with a result."""
        return self._n_input is not None

    @property
    def n_input(self) -> int:
        """Tokens of all inputs; an input counts once, however many rows continue it."""
        return sum(self._n_input or ())

    @property
    def n_generated(self) -> int:
        """Generated tokens: of rows that have not ended, those that were streamed."""
        return sum(self._ended.values()) + sum(
            n - self._n_echoed(row) for row, n in self._reported.items() if row not in self._ended
        )

    @property
    def n_rows(self) -> int:
        """Sequences: ``n`` for each input."""
        return self._n * len(self._n_input or ())

    def _n_echoed(self, row: int) -> int:
        return self._n_input[row // self._n] if self._echo and self._n_input is not None else 0
