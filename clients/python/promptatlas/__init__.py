"""SDK of Prompt Atlas: completions, activations and trajectories of a frozen model with tuned prompts.

>>> from promptatlas import Client
>>> client = Client()
>>> client.completions.create(model="demo:qa@1", prompt="Where is Ana?").choices[0].text  # doctest: +SKIP
"""

from promptatlas.async_client import AsyncClient
from promptatlas.client import Client
from promptatlas.errors import (
    AuthenticationError,
    BadGatewayError,
    BadRequestError,
    BrokenStreamError,
    ConflictError,
    ConnectionFailedError,
    DeadlineExceededError,
    ExpiredError,
    ForbiddenError,
    InvalidRequestError,
    NotFoundError,
    ProblemError,
    PromptAtlasError,
    RateLimitError,
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
from promptatlas.resources._async.map import AsyncMap
from promptatlas.resources._async.run import AsyncRun
from promptatlas.resources._sync.map import Map
from promptatlas.resources._sync.run import Run
from promptatlas.resources.interventions import Intervention
from promptatlas.results.harvests.activations_store import ActivationsStore
from promptatlas.results.harvests.harvest import Harvest, HarvestRow
from promptatlas.results.maps.points import Points
from promptatlas.results.reports import Report
from promptatlas.results.runs.curves import Curves
from promptatlas.results.tensors.activations import ActivationCache
from promptatlas.results.tensors.rows import Rows
from promptatlas.results.tensors.trajectories import Trajectories, Trajectory
from promptatlas.transport._async.page import AsyncPage
from promptatlas.transport._async.stream import AsyncStream
from promptatlas.transport._sync.page import Page
from promptatlas.transport._sync.stream import Stream
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
    "ExpiredError",
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
    "RateLimitError",
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
