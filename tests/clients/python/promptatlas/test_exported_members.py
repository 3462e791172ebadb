"""The public surface: what is exported is meant to be, and stays."""

from __future__ import annotations

import subprocess
import sys

import promptatlas
import promptatlas.types

EXPORTED = """
ActivationCache ActivationsStore AsyncClient AsyncMap AsyncPage AsyncRun AsyncStream AuthenticationError BadGatewayError
BadRequestError BrokenStreamError Client ConflictError ConnectionFailedError Curves DeadlineExceededError ExpiredError
ForbiddenError Harvest HarvestRow Intervention InvalidRequestError Map NotFoundError Page Points ProblemError PromptAtlasError
RateLimitError Report RetryPolicy Rows Run RunCancelledError
RunFailedError ServerError Stream TimedOutError TooLargeError TooManyRequestsError Trajectories Trajectory
UnavailableError UnexpectedAnswerError UnsafeFileError UnsupportedFormatError
"""
REQUESTS = """
ActivationRequest AliasBody ChatCompletionRequest CompletionRequest DetokenizeRequest EmbeddingRequest EvaluateSpec HarvestSpec
InterventionSpec MapSpec Mix
ProjectBody PromptHeader ReportSpec RunBody SampleBody Template TokenizeRequest TrajectoryRequest TuneSpec
"""


def test_the_package_exports_exactly_this() -> None:
    assert sorted(promptatlas.__all__) == sorted(EXPORTED.split())
    assert all(hasattr(promptatlas, name) for name in promptatlas.__all__)


def test_types_exports_every_request_and_answer_it_defines() -> None:
    defined = {
        name
        for name, value in vars(promptatlas.types).items()
        if isinstance(value, type) and value.__module__.startswith("promptatlas.types.")
    }
    assert defined <= set(promptatlas.types.__all__)
    assert set(REQUESTS.split()) <= defined


def test_nouns_and_verbs() -> None:
    client = promptatlas.Client(environ={})
    nouns = {name: value for name, value in vars(client).items() if not name.startswith("_")}
    verbs = {name: _verbs(type(noun)) for name, noun in nouns.items()}
    assert verbs == {
        "models": ["detokenize", "get", "list", "tokenize"],
        "completions": ["create"],
        "chat": ["create"],
        "embeddings": ["create"],
        "activations": ["divergence", "estimate", "get"],
        "trajectories": ["create"],
        "prompts": ["delete", "delete_alias", "download", "get", "list", "set_alias", "upload", "versions"],
        "datasets": ["delete", "get", "list", "load", "peek", "upload"],
        "priors": ["sample"],
        "runs": ["create", "delete", "distill", "evaluate", "generate", "get", "list", "plan", "tune"],
        "harvest": ["create", "open"],
        "maps": ["delete", "get", "list", "make"],
        "reports": ["get", "make"],
    }


def test_members_of_a_run() -> None:
    verbs = """
        annotate cancel download download_all evaluation events map metrics open plot read refresh report
        resume to_pandas vectors wait
    """
    facts = "artifacts ended error id kind name notes outcome progress prompts spec status tags"
    for run in (promptatlas.Run, promptatlas.AsyncRun):
        assert _verbs(run) == sorted([*verbs.split(), *facts.split()])


def test_both_clients_have_the_same_nouns_and_verbs() -> None:
    waiting, not_waiting = promptatlas.Client(environ={}), promptatlas.AsyncClient(environ={})
    for name, noun in vars(waiting).items():
        other = getattr(not_waiting, name)
        if not name.startswith("_"):
            assert {verb for verb in dir(noun) if verb[0] != "_"} == {verb for verb in dir(other) if verb[0] != "_"}


def test_importing_it_imports_nothing_optional() -> None:
    optional = ("torch", "pandas", "matplotlib", "plotly", "yaml", "pyarrow", "datasets", "service")
    code = f"import sys, promptatlas, promptatlas.cli; print([m for m in {optional} if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def _verbs(noun: type) -> list[str]:
    """Names that the noun's own classes define; not those of ``object``, to which some libraries add their own."""
    return sorted({name for part in noun.__mro__[:-1] for name in vars(part) if not name.startswith("_")})
