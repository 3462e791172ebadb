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
from promptatlas.results.activations import ActivationCache
from promptatlas.results.activations_store import ActivationsStore
from promptatlas.results.curves import Curves
from promptatlas.results.harvests import Harvest, HarvestRow
from promptatlas.results.maps import AsyncMap, Map
from promptatlas.results.points import Points
from promptatlas.results.reports import Report
from promptatlas.results.rows import Rows
from promptatlas.results.runs import AsyncRun, Run
from promptatlas.results.trajectories import Trajectories, Trajectory
from promptatlas.sending.events import AsyncStream, Stream
from promptatlas.sending.pages import AsyncPage, Page
from promptatlas.sending.retry import RetryPolicy

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
