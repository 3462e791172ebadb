# Generated from promptatlas.resources._async.runs by generate_sync.py: edit that module, then run `make generate`.
"""``client.runs``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from promptatlas.resources._async.runs import DistillOptions, EvaluateOptions, GenerateOptions, TuneOptions
from promptatlas.resources._sync.run import Run
from promptatlas.resources.options import Spec, page_params, split_options
from promptatlas.resources.run_requests import create_request, plan_request, run_path, run_request
from promptatlas.transport._async.page import Mapped
from promptatlas.transport._sync.page import Page
from promptatlas.transport._sync.sender import Sender
from promptatlas.transport.call import Call, CallOptions, nothing, options_of, reader
from promptatlas.types import ListPage, RunKind, RunPlan, RunStatus
from promptatlas.types import Run as RunInfo

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Runs:
    """Runs: long jobs on the workers. They continue without this client."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    def create(self, kind: RunKind, spec: Spec, *, name: str | None = None, **options: Unpack[CallOptions]) -> Run:
        """Queues a run of any kind.

        Args:
            spec: the spec of the kind, see ``promptatlas.types``.
            name: display name of the run.

        Raises:
            InvalidRequestError: the spec is invalid; ``errors`` has the locations.
        """
        info = self._sender.send(create_request(kind, spec, name=name, options=options))
        return Run(info, sender=self._sender)

    def plan(self, kind: RunKind, spec: Spec, **options: Unpack[CallOptions]) -> RunPlan:
        """Validates a spec and returns it with all defaults and with estimates. Nothing is stored or queued.

        Raises:
            InvalidRequestError: the spec is invalid; ``errors`` has the locations.
        """
        return self._sender.send(plan_request(kind, spec, options=options))

    def tune(
        self,
        *,
        model: str,
        dataset: str,
        priors: Sequence[Spec],
        run_name: str | None = None,
        **options: Unpack[TuneOptions],
    ) -> Run:
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
        return self.create("tune", spec, name=run_name, **call_options)

    def distill(
        self,
        *,
        model: str,
        dataset: str,
        priors: Sequence[Spec],
        teacher: Spec,
        run_name: str | None = None,
        **options: Unpack[DistillOptions],
    ) -> Run:
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
        return self.create("distill", spec, name=run_name, **call_options)

    def evaluate(
        self,
        *,
        model: str,
        prompts: Sequence[str | None],
        dataset: str,
        run_name: str | None = None,
        **options: Unpack[EvaluateOptions],
    ) -> Run:
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
        return self.create("evaluate", spec, name=run_name, **call_options)

    def generate(
        self,
        *,
        model: str,
        dataset: str,
        name: str,
        run_name: str | None = None,
        **options: Unpack[GenerateOptions],
    ) -> Run:
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
        return self.create("generate", spec, name=run_name, **call_options)

    def get(self, run_id: str, **options: Unpack[CallOptions]) -> Run:
        """A run by its id."""
        return Run(self._sender.send(run_request(run_id, options=options)), sender=self._sender)

    def delete(self, run_id: str, **options: Unpack[CallOptions]) -> None:
        """Deletes a run that has ended, with its artifacts; its prompts are kept. ConflictError if it has not ended."""
        call = Call(method="DELETE", path=run_path(run_id), parse=nothing, **options_of(options))
        self._sender.send(call)

    def list(
        self,
        *,
        kind: RunKind | None = None,
        status: RunStatus | None = None,
        tag: str | None = None,
        limit: int | None = None,
        after: str | None = None,
        **options: Unpack[CallOptions],
    ) -> Page[Run]:
        """One page of ``limit`` runs, newest first; iterating over it continues with the next pages.

        Their ``artifacts`` are empty; ``refresh`` of a run loads them.
        """
        given = {"kind": kind, "status": status, "tag": tag}
        chosen = {name: value for name, value in given.items() if value is not None}
        params, parse = {**chosen, **page_params(limit=limit, after=after)}, reader(ListPage[RunInfo])
        call = Call(method="GET", path="/v1/runs", parse=parse, params=params, **options_of(options))
        page = self._sender.send(call)
        rows = Mapped([Run(info, sender=self._sender) for info in page.data], page.has_more, page.next)
        return Page(
            rows,
            follow=lambda cursor: self.list(kind=kind, status=status, tag=tag, limit=limit, after=cursor, **options),
        )
