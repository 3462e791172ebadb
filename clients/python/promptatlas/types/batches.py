"""Files and batches, in OpenAI's format."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from promptatlas.types.wire import RequestBody, ResponseBody

BatchEndpoint = Literal["/v1/completions", "/v1/chat/completions"]
FileId = Annotated[str, StringConstraints(pattern=r"^file-[0-9a-z-]{1,80}$")]

_Label = Annotated[str, Field(max_length=512)]


class FileObject(ResponseBody):
    """A stored file. created_at: seconds since 1970."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    filename: str
    purpose: str
    status: Literal["processed"] = "processed"
    expires_at: int | None = None


class FileList(ResponseBody):
    """One page of files, newest first."""

    object: Literal["list"] = "list"
    data: list[FileObject]
    has_more: bool = False
    first_id: str | None = None
    last_id: str | None = None


class DeletedFile(ResponseBody):
    """A file that was deleted."""

    id: str
    object: Literal["file"] = "file"
    deleted: bool = True


class BatchBody(RequestBody):
    """Body of ``POST /v1/batches``. input_file_id: JSON Lines with ``custom_id``, ``method``, ``url`` and ``body``."""

    input_file_id: FileId
    endpoint: BatchEndpoint
    completion_window: Literal["24h"]
    metadata: dict[_Label, _Label] | None = Field(default=None, max_length=16)


class BatchSpec(RequestBody):
    """Spec of a ``batch`` run, which ``POST /v1/batches`` starts.

    model: the hosted model that all requests name, each with its own prompt.
    """

    model: str = Field(min_length=1, max_length=200)
    input_file_id: FileId
    endpoint: BatchEndpoint
    completion_window: Literal["24h"] = "24h"
    metadata: dict[_Label, _Label] | None = Field(default=None, max_length=16)
    shard_requests: int = Field(default=256, ge=1, le=4096)


class BatchFault(ResponseBody):
    """A fault of an input file. line: counted from 1."""

    code: str | None = None
    line: int | None = None
    message: str | None = None
    param: str | None = None


class BatchFaults(ResponseBody):
    """Why a batch has failed."""

    object: Literal["list"] = "list"
    data: list[BatchFault]


class BatchCounts(ResponseBody):
    """Requests of a batch: all, those with a response, and those with an error."""

    total: int = 0
    completed: int = 0
    failed: int = 0


class Batch(ResponseBody):
    """A batch. Times are seconds since 1970. run_id: of the run that carries it out."""

    id: str
    object: Literal["batch"] = "batch"
    endpoint: str
    model: str | None = None
    errors: BatchFaults | None = None
    input_file_id: str
    completion_window: str
    status: Literal[
        "validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"
    ]
    output_file_id: str | None = None
    error_file_id: str | None = None
    created_at: int
    in_progress_at: int | None = None
    expires_at: int | None = None
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None
    request_counts: BatchCounts = Field(default_factory=BatchCounts)
    metadata: dict[str, str] | None = None
    run_id: str


class BatchList(ResponseBody):
    """One page of batches, newest first."""

    object: Literal["list"] = "list"
    data: list[Batch]
    has_more: bool = False
    first_id: str | None = None
    last_id: str | None = None
