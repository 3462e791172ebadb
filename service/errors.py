"""The error tree of the service. HTTP knows how to map a class to a status; nothing here knows HTTP.

AtlasError
├── InvalidRequest      the request cannot be done as asked (422)
├── NotFound            no such model, prompt, version or alias (404)
├── Conflict            it would overwrite or break something (409)
├── TooLarge            over a limit of this server, with the limit named (413)
├── Busy                the queue is full, try later (429)
├── Unavailable         the engine is starting or lost (503)
├── DeadlineExceeded    the request's time ran out (504)
├── DamagedArtifact     a stored file does not match its manifest: never served (500)
├── EngineFault         the engine failed on this request for a reason of its own (500)
└── UnsupportedModel    a model whose architecture the engine cannot host (refused at start)
"""

from __future__ import annotations


class AtlasError(Exception):
    """Base of all errors that a client may read.

    Args:
        detail: what was expected and what came, in one or two sentences; free of paths, reprs and stack traces.
        loc: where in the request it stands, as pydantic writes it, e.g. ``("layers", 0)``.
        retry_after_s: seconds after which trying again makes sense.
    """

    title = "Error"

    def __init__(
        self, detail: str, *, loc: tuple[str | int, ...] | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.loc = loc
        self.retry_after_s = retry_after_s

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross the process border between engine and routes; keyword arguments need help to survive pickling.
        return (_rebuild, (type(self), self.detail, self.loc, self.retry_after_s))


def _rebuild(
    kind: type[AtlasError], detail: str, loc: tuple[str | int, ...] | None, retry_after_s: float | None
) -> AtlasError:
    return kind(detail, loc=loc, retry_after_s=retry_after_s)


class InvalidRequest(AtlasError):
    title = "Invalid request"


class NotFound(AtlasError):
    title = "Not found"


class Conflict(AtlasError):
    title = "Conflict"


class TooLarge(AtlasError):
    title = "Too large"


class Busy(AtlasError):
    title = "Too many requests"


class Unavailable(AtlasError):
    title = "Engine unavailable"


class DeadlineExceeded(AtlasError):
    title = "Deadline exceeded"


class DamagedArtifact(AtlasError):
    title = "Damaged artifact"


class EngineFault(AtlasError):
    title = "Internal error"


class UnsupportedModel(AtlasError):
    title = "Unsupported model"
