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
    RunCancelledError,
    RunFailedError,
    ServerError,
    TimedOutError,
    TooLargeError,
    TooManyRequestsError,
    UnavailableError,
    UnexpectedAnswerError,
    UnsafeFileError,
    UnsupportedFormatError,
)
from promptatlas.results.harvests.activations_store import ActivationsStore
from promptatlas.results.harvests.harvest import Harvest, HarvestRow
from promptatlas.results.maps.map import AsyncMap, Map
from promptatlas.results.maps.points import Points
from promptatlas.results.reports import Report
from promptatlas.results.runs.curves import Curves
from promptatlas.results.runs.run import AsyncRun, Run
from promptatlas.results.tensors.activations import ActivationCache
from promptatlas.results.tensors.rows import Rows
from promptatlas.results.tensors.trajectories import Trajectories, Trajectory
from promptatlas.transport.events import AsyncStream, Stream
from promptatlas.transport.pages import AsyncPage, Page
from promptatlas.transport.retry import RetryPolicy

__all__ = [
    "ActivationCache",
    "ActivationsStore",
    "AsyncClient",
    "AsyncMap",
    "AsyncPage",
    "AsyncRun",
    "AsyncStream",
    "AuthenticationError",
    "BadGatewayError",
    "BadRequestError",
    "BrokenStreamError",
    "Client",
    "ConflictError",
    "ConnectionFailedError",
    "Curves",
    "DeadlineExceededError",
    "ForbiddenError",
    "Harvest",
    "HarvestRow",
    "Intervention",
    "InvalidRequestError",
    "Map",
    "NotFoundError",
    "Page",
    "Points",
    "ProblemError",
    "PromptAtlasError",
    "Report",
    "RetryPolicy",
    "Rows",
    "Run",
    "RunCancelledError",
    "RunFailedError",
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
