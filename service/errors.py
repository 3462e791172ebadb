"""Error classes of the service. The API maps each class to an HTTP status; this module does not know HTTP.

AtlasError
├── InvalidRequest      the request is invalid (422)
│   └── ContextLengthExceeded   input and new tokens exceed the model's context
├── NotFound            no such model, prompt, version or alias (404)
│   └── Expired         it was here, and was removed because of its age or size (410)
├── Conflict            it would overwrite or break something (409)
├── TooLarge            over a limit of this server; the message names the limit (413)
├── Busy                the queue is full, retry later (429)
│   └── RateLimited         a limit of the API key is reached, retry later (429)
├── Unavailable         a part of the server cannot be used at the moment (503)
│   ├── EngineUnavailable   the engine is starting or lost
│   ├── ShuttingDown        the service stops and takes no new requests
│   ├── StoreUnavailable    the store cannot be reached
│   │   ├── StoreFull       it has no space left
│   │   └── StoreReadOnly   it can be read but not written
│   ├── TemporaryFilesUnavailable   the folder for temporary files is full or not writable
│   ├── QueueUnavailable    there is no queue for runs, or Redis cannot be reached
│   └── HubUnreachable      the Hugging Face hub cannot be reached
├── RequestTooSlow      the body arrives too slowly (408)
├── DeadlineExceeded    the request's deadline has passed (504)
├── DamagedArtifact     a stored file does not match its manifest and is not served (500)
├── EngineFault         the engine failed internally on this request (500)
└── UnsupportedModel    the engine does not support the architecture of a model (raised at start)
"""

from __future__ import annotations


class AtlasError(Exception):
    """Base class of all errors that are shown to clients.

    Args:
        detail: what was expected and what was received, in one or two sentences without paths, reprs or stack traces.
        loc: location in the request, in pydantic's form, e.g. ``("layers", 0)``.
        retry_after_s: seconds after which the client may retry.
    """

    title = "Error"

    def __init__(
        self, detail: str, *, loc: tuple[str | int, ...] | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.loc = loc
        self.retry_after_s = retry_after_s


class InvalidRequest(AtlasError):
    title = "Invalid request"


class ContextLengthExceeded(InvalidRequest):
    """OpenAI's clients recognise the title, as the code ``context_length_exceeded``, and words of the message."""

    title = "Context length exceeded"


class NotFound(AtlasError):
    title = "Not found"


class Expired(NotFound):
    title = "Expired"


class Conflict(AtlasError):
    title = "Conflict"


class TooLarge(AtlasError):
    title = "Too large"


class Busy(AtlasError):
    title = "Too many requests"


class RateLimited(Busy):
    title = "Rate limit exceeded"


class Unavailable(AtlasError):
    title = "Unavailable"


class EngineUnavailable(Unavailable):
    title = "Engine unavailable"


class ShuttingDown(Unavailable):
    title = "Shutting down"


class StoreUnavailable(Unavailable):
    title = "Store unavailable"


class StoreFull(StoreUnavailable):
    title = "Store full"


class StoreReadOnly(StoreUnavailable):
    title = "Store read-only"


class TemporaryFilesUnavailable(Unavailable):
    title = "Temporary files unavailable"


class QueueUnavailable(Unavailable):
    title = "Queue unavailable"


class HubUnreachable(Unavailable):
    title = "Hub unreachable"


class RequestTooSlow(AtlasError):
    title = "Request timeout"


class DeadlineExceeded(AtlasError):
    title = "Deadline exceeded"


class DamagedArtifact(AtlasError):
    title = "Damaged artifact"


class EngineFault(AtlasError):
    title = "Internal error"


class UnsupportedModel(AtlasError):
    title = "Unsupported model"
