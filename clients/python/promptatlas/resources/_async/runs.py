"""``client.runs``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from promptatlas.resources._async.run import AsyncRun
from promptatlas.resources.options import PromptChoice, Spec, page_params, split_options
from promptatlas.resources.run_requests import create_request, plan_request, run_path, run_request
from promptatlas.transport._async.page import AsyncPage, Mapped
from promptatlas.transport._async.sender import AsyncSender
from promptatlas.transport.call import Call, CallOptions, nothing, options_of, reader
from promptatlas.types import Keep, ListPage, Metric, RunKind, RunPlan, RunStatus, Split
from promptatlas.types import Run as RunInfo

if TYPE_CHECKING:
    from typing_extensions import Unpack


class TuneOptions(CallOptions, total=False):
    """Options of tuning; see ``promptatlas.types.TuneSpec``."""

    name: str
    method: Spec
    seeds: Sequence[int]
    optimizer: Spec
    regularize: Spec
    eval: Spec
    early_stopping: Spec | None
    keep: Literal["last", "best"]
    template: Spec | None
    data_seed: int
    checkpoint_every: int
    snapshots: int
    gradient_checkpointing: bool


class DistillOptions(TuneOptions, total=False):
    """Options of distillation; see ``promptatlas.types.DistillSpec``."""

    target: Spec
    loss: Sequence[Spec]
    on_policy: float


class EvaluateOptions(CallOptions, total=False):
    """Options of an evaluation; see ``promptatlas.types.EvaluateSpec``."""

    split: Split
    metrics: Sequence[Metric]
    n: int | None
    max_tokens: int | None
    samples: int
    seed: int
    template: Spec | None
    sampling: Spec | None


class GenerateOptions(CallOptions, total=False):
    """Options of generation over a dataset; see ``promptatlas.types.GenerateSpec``.

    context: a text, turns of a chat, or ``{"shots": 4}``. answer: ``whole``, ``{"find": "last_number"}``,
    ``{"find": "after", "after": "####"}`` or ``{"find": "pattern", "pattern": "…"}``.
    """

    teacher: str | None
    prompt_refs: Sequence[PromptChoice | None]
    split: Split | None
    n_items: int | None
    template: Spec | None
    context: Any
    n: int
    max_tokens: int
    min_tokens: int
    temperature: float
    top_p: float
    top_k: int
    min_p: float
    repetition_penalty: float
    presence_penalty: float
    frequency_penalty: float
    stop: str | Sequence[str] | None
    seed: int
    logprobs: int | None
    answer: Any
    metric: Metric | None
    keep: Keep
    dedupe: bool
    reuse: bool
    shard_samples: int | None


class AsyncRuns:
    """Runs: long jobs on the workers. They continue without this client."""

    def __init__(self, sender: AsyncSender) -> None:
        self._sender = sender

    async def create(
        self, kind: RunKind, spec: Spec, *, name: str | None = None, **options: Unpack[CallOptions]
    ) -> AsyncRun:
        """Queues a run of any kind.

        Args:
            spec: the spec of the kind, see ``promptatlas.types``.
            name: display name of the run.

        Raises:
            InvalidRequestError: the spec is invalid; ``errors`` has the locations.
        """
        info = await self._sender.send(create_request(kind, spec, name=name, options=options))
        return AsyncRun(info, sender=self._sender)

    async def plan(self, kind: RunKind, spec: Spec, **options: Unpack[CallOptions]) -> RunPlan:
        """Validates a spec and returns it with all defaults and with estimates. Nothing is stored or queued.

        Raises:
            InvalidRequestError: the spec is invalid; ``errors`` has the locations.
        """
        return await self._sender.send(plan_request(kind, spec, options=options))

    async def tune(
        self,
        *,
        model: str,
        dataset: str,
        priors: Sequence[Spec],
        run_name: str | None = None,
        **options: Unpack[TuneOptions],
    ) -> AsyncRun:
        """Tunes prompts: the product priors × seeds × learning rates, in parallel. Each becomes a prompt version.

        Args:
            priors: distributions of the initial vectors, e.g. ``[{"kind": "isotropic", "std": 0.02}]``.
            run_name: display name of the run; ``name`` names the prompts.
            options: see ``promptatlas.types.TuneSpec``; ``timeout_s``, ``request_id``.

        Raises:
            InvalidRequestError: the spec is invalid; ``errors`` has the locations.
        """
        fields, call_options = split_options(options)
        spec = {"model": model, "dataset": dataset, "priors": priors, **fields}
        return await self.create("tune", spec, name=run_name, **call_options)

    async def distill(
        self,
        *,
        model: str,
        dataset: str,
        priors: Sequence[Spec],
        teacher: Spec,
        run_name: str | None = None,
        **options: Unpack[DistillOptions],
    ) -> AsyncRun:
        """Tunes prompts to reproduce a teacher's texts, next-token distributions or states. Each becomes a prompt version.

        Args:
            teacher: e.g. ``{"dataset": "sums"}`` or ``{"context": "Think step by step. "}``.
            run_name: display name of the run; ``name`` names the prompts.
            options: see ``promptatlas.types.DistillSpec``; ``timeout_s``, ``request_id``.

        Raises:
            InvalidRequestError: the spec is invalid; ``errors`` has the locations.
        """
        fields, call_options = split_options(options)
        spec = {"model": model, "dataset": dataset, "priors": priors, "teacher": teacher, **fields}
        return await self.create("distill", spec, name=run_name, **call_options)

    async def evaluate(
        self,
        *,
        model: str,
        prompts: Sequence[str | None],
        dataset: str,
        run_name: str | None = None,
        **options: Unpack[EvaluateOptions],
    ) -> AsyncRun:
        """Evaluates prompts on a dataset, with metrics and their confidence intervals.

        Args:
            prompts: references; None is the model without a prompt.
            run_name: display name of the run.
            options: see ``promptatlas.types.EvaluateSpec``; ``timeout_s``, ``request_id``.

        Raises:
            InvalidRequestError: the spec is invalid; ``errors`` has the locations.
        """
        fields, call_options = split_options(options)
        spec = {"model": model, "prompts": prompts, "dataset": dataset, **fields}
        return await self.create("evaluate", spec, name=run_name, **call_options)

    async def generate(
        self,
        *,
        model: str,
        dataset: str,
        name: str,
        run_name: str | None = None,
        **options: Unpack[GenerateOptions],
    ) -> AsyncRun:
        """Samples from a model for every item of a dataset, and stores the samples that are kept as a dataset.

        Args:
            name: of the dataset that results.
            run_name: display name of the run.
            options: see ``promptatlas.types.GenerateSpec``; ``timeout_s``, ``request_id``.

        Raises:
            InvalidRequestError: the spec is invalid; ``errors`` has the locations.
        """
        fields, call_options = split_options(options)
        spec = {"model": model, "dataset": dataset, "name": name, **fields}
        return await self.create("generate", spec, name=run_name, **call_options)

    async def get(self, run_id: str, **options: Unpack[CallOptions]) -> AsyncRun:
        """A run by its id."""
        return AsyncRun(await self._sender.send(run_request(run_id, options=options)), sender=self._sender)

    async def delete(self, run_id: str, **options: Unpack[CallOptions]) -> None:
        """Deletes a run that has ended, with its artifacts; its prompts are kept. ConflictError if it has not ended."""
        call = Call(method="DELETE", path=run_path(run_id), parse=nothing, **options_of(options))
        await self._sender.send(call)

    async def list(
        self,
        *,
        kind: RunKind | None = None,
        status: RunStatus | None = None,
        tag: str | None = None,
        limit: int | None = None,
        after: str | None = None,
        **options: Unpack[CallOptions],
    ) -> AsyncPage[AsyncRun]:
        """One page of ``limit`` runs, newest first; iterating over it continues with the next pages.

        Their ``artifacts`` are empty; ``refresh`` of a run loads them.
        """
        given = {"kind": kind, "status": status, "tag": tag}
        chosen = {name: value for name, value in given.items() if value is not None}
        params, parse = {**chosen, **page_params(limit=limit, after=after)}, reader(ListPage[RunInfo])
        call = Call(method="GET", path="/v1/runs", parse=parse, params=params, **options_of(options))
        page = await self._sender.send(call)
        rows = Mapped([AsyncRun(info, sender=self._sender) for info in page.data], page.has_more, page.next)
        return AsyncPage(
            rows,
            follow=lambda cursor: self.list(kind=kind, status=status, tag=tag, limit=limit, after=cursor, **options),
        )
