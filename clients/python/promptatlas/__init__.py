"""Prompt Atlas SDK: tuned prompts of one frozen model, its completions, activations and trajectories.

>>> from promptatlas import Client
>>> client = Client()
>>> client.completions.create(model="demo:qa@1", prompt="Where is Ana?").choices[0].text  # doctest: +SKIP
"""

from promptatlas.calls.interventions import Intervention
from promptatlas.client import AsyncClient, Client
from promptatlas.errors import (
    AuthenticationError,
    BadGatewayError,
    BadRequestError,
    BrokenStreamError,
    ConflictError,
    ConnectionFailedError,
    DeadlineExceededError,
    ForbiddenError,
    InvalidRequestError,
    NotFoundError,
    ProblemError,
    PromptAtlasError,
    ServerError,
    TimedOutError,
    TooLargeError,
    TooManyRequestsError,
    UnavailableError,
    UnexpectedAnswerError,
    UnsafeFileError,
    UnsupportedFormatError,
)
from promptatlas.results.activations import ActivationCache
from promptatlas.results.rows import Rows
from promptatlas.results.trajectories import Trajectories, Trajectory
from promptatlas.sending.events import AsyncStream, Stream
from promptatlas.sending.pages import AsyncPage, Page
from promptatlas.sending.retry import RetryPolicy

__all__ = [
    "ActivationCache",
    "AsyncClient",
    "AsyncPage",
    "AsyncStream",
    "AuthenticationError",
    "BadGatewayError",
    "BadRequestError",
    "BrokenStreamError",
    "Client",
    "ConflictError",
    "ConnectionFailedError",
    "DeadlineExceededError",
    "ForbiddenError",
    "Intervention",
    "InvalidRequestError",
    "NotFoundError",
    "Page",
    "ProblemError",
    "PromptAtlasError",
    "RetryPolicy",
    "Rows",
    "ServerError",
    "Stream",
    "TimedOutError",
    "TooLargeError",
    "TooManyRequestsError",
    "Trajectories",
    "Trajectory",
    "UnavailableError",
    "UnexpectedAnswerError",
    "UnsafeFileError",
    "UnsupportedFormatError",
]
