"""Samples of a teacher: one request each, a bounded number at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait

import numpy as np
from promptatlas.types.generation import GenerateSpec

from service.errors import NotFound, Unavailable
from service.settings import Settings
from service.store.datasets.traces.top_tokens import NO_TOKEN, TopTokens
from workers.generate.samples.requests import SampleRequest
from workers.generate.samples.source import Identity
from workers.generate.samples.trace import Samples, Trace
from workers.generate.teachers.client import Nonsense, Refused, TeacherClient
from workers.generate.teachers.completions import Completion, TeacherToken, body_of, completion_in, path_of

N_TRIES = 3
"""Requests for one sample whose answer is no completion."""

_CHECK_INTERVAL_S = 0.5


class TeacherSource:
    """Samples from a teacher; a :class:`workers.generate.samples.source.SampleSource`.

    Args:
        open_client: opens a connection to the teacher, for one shard.
        max_requests: requests at once.
        check: called regularly; may raise to stop.
    """

    def __init__(
        self,
        spec: GenerateSpec,
        *,
        open_client: Callable[[], TeacherClient],
        max_requests: int,
        check: Callable[[], None],
    ) -> None:
        self._spec = spec
        self._open_client = open_client
        self._max_requests = max_requests
        self._check = check
        self._refuses_logprobs = threading.Event()

    @classmethod
    def of(cls, spec: GenerateSpec, *, settings: Settings, check: Callable[[], None]) -> TeacherSource:
        """The teacher of a spec; NotFound if the settings of this worker do not have it."""
        urls = {teacher.name: teacher.base_url for teacher in settings.teachers}
        keys = {item.name: item.key for item in settings.teacher_keys}
        name = spec.teacher or ""
        if name not in urls:
            raise NotFound(f"This worker has no teacher {name!r}; it has {', '.join(sorted(urls)) or 'none'}.")

        def open_client() -> TeacherClient:
            return TeacherClient(name, base_url=urls[name], key=keys.get(name), patience_s=settings.teacher_patience_s)

        return cls(spec, open_client=open_client, max_requests=settings.teacher_requests, check=check)

    @property
    def identity(self) -> Identity:
        """The names of model and teacher."""
        return Identity(model=self._spec.model, teacher=self._spec.teacher)

    def generate(self, requests: Sequence[SampleRequest]) -> Samples:
        """One sample per request.

        Raises:
            Refused, Unavailable: The teacher cannot be used.
        """
        completions = self._complete(requests)
        traces = [_trace(request, completion) for request, completion in zip(requests, completions, strict=True)]
        if self._spec.logprobs is None:
            return Samples(traces=traces)
        vocabulary = _Vocabulary()
        rows = [_top_tokens(each.tokens, k=self._spec.logprobs, vocabulary=vocabulary) for each in completions]
        return Samples(traces=traces, top_tokens=rows, vocabulary=list(vocabulary.ids))

    def _complete(self, requests: Sequence[SampleRequest]) -> list[Completion]:
        client = self._open_client()
        pool = ThreadPoolExecutor(self._max_requests, thread_name_prefix="teacher")
        try:
            futures = [pool.submit(self._one, client, request) for request in requests]
            _wait_for(futures, check=self._check)
            return [future.result() for future in futures]
        finally:
            # Requests that still run end at the closed connection; nobody waits for them.
            pool.shutdown(wait=False, cancel_futures=True)
            client.close()

    def _one(self, client: TeacherClient, request: SampleRequest) -> Completion:
        fault = ""
        for _ in range(N_TRIES):
            found = self._try(client, request)
            if isinstance(found, Completion):
                return found
            fault = found.detail
        raise Unavailable(
            f"Teacher {self._spec.teacher!r} sent {N_TRIES} answers to one request that are no completions: {fault}."
        )

    def _try(self, client: TeacherClient, request: SampleRequest) -> Completion | Nonsense:
        try:
            return completion_in(self._post(client, request), k=self._spec.logprobs or 0)
        except Nonsense as error:
            return error

    def _post(self, client: TeacherClient, request: SampleRequest) -> object:
        with_logprobs = self._spec.logprobs is not None and not self._refuses_logprobs.is_set()
        path = path_of(request)
        try:
            return client.post(path, body_of(request, spec=self._spec, with_logprobs=with_logprobs))
        except Refused as refusal:
            if not with_logprobs:
                raise
            try:
                answer = client.post(path, body_of(request, spec=self._spec, with_logprobs=False))
            except Refused:
                raise refusal from None
        self._refuses_logprobs.set()
        return answer


class _Vocabulary:
    """Distinct texts of the tokens of one shard, numbered in the order of their first use."""

    def __init__(self) -> None:
        self.ids: dict[str, int] = {}

    def id_of(self, text: str) -> int:
        return self.ids.setdefault(text, len(self.ids))


def _wait_for(futures: Sequence[Future[Completion]], *, check: Callable[[], None]) -> None:
    pending = set(futures)
    while pending:
        check()
        done, pending = wait(pending, timeout=_CHECK_INTERVAL_S, return_when=FIRST_EXCEPTION)
        for future in done:
            future.result()


def _trace(request: SampleRequest, completion: Completion) -> Trace:
    return Trace(
        item=request.item,
        prompt=request.prompt,
        sample=request.sample,
        seed=request.seed,
        text=completion.text,
        finish_reason=completion.finish_reason,
        n_input=completion.n_input,
        n_tokens=completion.n_tokens,
        revision=completion.revision,
    )


def _top_tokens(tokens: Sequence[TeacherToken], *, k: int, vocabulary: _Vocabulary) -> TopTokens:
    ids = np.full((len(tokens), k), NO_TOKEN, dtype=np.int32)
    logprobs = np.full((len(tokens), k), -np.inf, dtype=np.float32)
    for i, token in enumerate(tokens):
        for j, (text, logprob) in enumerate(token.top):
            ids[i, j], logprobs[i, j] = vocabulary.id_of(text), logprob
    return TopTokens(
        ids=np.array([vocabulary.id_of(token.text) for token in tokens], dtype=np.int32),
        logprobs=np.array([token.logprob for token in tokens], dtype=np.float32),
        top_ids=ids,
        top_logprobs=logprobs,
    )
