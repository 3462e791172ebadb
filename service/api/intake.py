"""Whether new requests are taken: a stopping service takes them until its drain time is over, then refuses them."""

from __future__ import annotations


class Intake:
    """Takes new requests until it is closed. Requests that have been taken are not affected."""

    def __init__(self) -> None:
        self._is_open = True

    @property
    def is_open(self) -> bool:
        """Whether new requests are taken."""
        return self._is_open

    def close(self) -> None:
        """Refuse requests from now on."""
        self._is_open = False
