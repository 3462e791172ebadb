"""Resolution of the model and prompt that a request names: base models, prompt references, and several prompts in one."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from promptatlas.types import (
    ActivationRequest,
    ChatCompletionRequest,
    CompletionRequest,
    DivergenceRequest,
    EmbeddingRequest,
    Mix,
    PromptRef,
    PromptUsed,
    SamplingFields,
    TrajectoryRequest,
)
from promptatlas.types.references import Concat, Ensemble, MixPart

from service.api.requests.posterior_members import draw_of, ensemble_of
from service.api.services import Services
from service.api.telemetry.request_record import note_model
from service.engine.inputs import PromptChoice
from service.errors import InvalidRequest, NotFound
from service.hosting.ipc.messages import EngineState
from service.planning.checks.concatenations import concat_form
from service.planning.checks.methods import Form
from service.planning.context import card_of
from service.store.prompts.checks import BaseShape
from service.store.prompts.manifests import PromptManifest, require_base
from service.store.prompts.store import PromptStore

MAX_NAMED = 80

_ModelRequest = (
    ActivationRequest
    | ChatCompletionRequest
    | CompletionRequest
    | DivergenceRequest
    | EmbeddingRequest
    | TrajectoryRequest
)


@dataclass(frozen=True, kw_only=True)
class ResolvedModel:
    """The model and prompt of a request.

    model: the base model. card: the fields of its card. prompt: for the engine; None is the bare model. used: for the client.
    refs: ``name@version`` of the prompt, or of each part of a mix, concatenation or ensemble.
    """

    model: str
    card: Mapping[str, Any]
    prompt: PromptChoice | None = None
    used: PromptUsed | None = None
    refs: tuple[str, ...] = ()

    @property
    def posterior_used(self) -> PromptUsed | None:
        """``used`` if it is a member of a posterior, or an ensemble; otherwise None."""
        is_posterior = self.used is not None and (self.used.member is not None or isinstance(self.used.ref, Ensemble))
        return self.used if is_posterior else None

    def metadata(self, *, request_id: str) -> dict[str, Any]:
        """Fields of a tensor result's header, in addition to those of the engine."""
        return {
            "model": self.model,
            "revision": self.card["revision"],
            "prompt": None if self.used is None else self.used.model_dump(mode="json", exclude_none=True),
            "dtype": self.card["dtype"],
            "attention": self.card["attention"],
            "versions": dict(self.card["versions"]),
            "request_id": request_id,
        }


async def resolve_model(
    store: PromptStore,
    *,
    state: EngineState,
    model: str,
    prompt_ref: PromptRef | None = None,
    seed: int | None = 0,
    allows_ensemble: bool = False,
) -> ResolvedModel:
    """Resolve ``base`` with a prompt reference, or ``base:ref`` without one.

    Args:
        seed: of the draw from a posterior; None draws at random. Requests without such a field draw with seed 0.
        allows_ensemble: whether the request can run under several prompts.

    Raises:
        NotFound: no such model, prompt, version or alias.
        InvalidRequest: a prompt for another base model, several prompts of different forms, or two prompt references.
    """
    base, colon, inner = model.partition(":")
    card = card_of(base, models=state.models, named=model)
    if colon and prompt_ref is not None:
        raise InvalidRequest(
            f"Expected one prompt reference; model {model[:MAX_NAMED]!r} and prompt_ref both name a prompt.",
            loc=("prompt_ref",),
        )
    ref: PromptRef | None = inner if colon else prompt_ref
    if ref is None:
        return ResolvedModel(model=base, card=card)
    field = "model" if colon else "prompt_ref"
    if isinstance(ref, Ensemble) and not allows_ensemble:
        raise InvalidRequest("Expected one prompt or a mix; an ensemble has no states of its own.", loc=(field,))
    parts = _parts(ref)
    allows_posterior = not isinstance(ref, Mix | Concat)
    resolve = functools.partial(_resolve, store, base=base, field=field, allows_posterior=allows_posterior)
    manifests = await asyncio.gather(*(asyncio.to_thread(resolve, part) for part, _ in parts))
    for (part, _), manifest in zip(parts, manifests, strict=True):
        require_base(manifest, base=base, revision=card["revision"], ref=part, loc=(field,))
    if isinstance(ref, Ensemble):
        choice, used = ensemble_of(ref, manifests)
    elif isinstance(ref, Concat):
        choice, used = _concat(ref, manifests, n_positions=card["n_positions"])
    elif manifests[0].is_posterior and isinstance(ref, str):
        choice, used = draw_of(ref, manifests[0], seed=seed)
    else:
        _require_one_shape(manifests, refs=[part for part, _ in parts])
        weights = [weight for _, weight in parts]
        choice, used = _prompt(manifests, weights), _used(ref, manifests, weights)
    return ResolvedModel(model=base, card=card, prompt=choice, used=used, refs=choice.refs)


async def resolve_request(services: Services, spec: _ModelRequest, *, allows_ensemble: bool = False) -> ResolvedModel:
    """:func:`resolve_model` of a request that runs the model; Unavailable while there is no engine."""
    state = services.engine.require_engine()
    resolved = await resolve_model(
        services.prompts,
        state=state,
        model=spec.model,
        prompt_ref=spec.prompt_ref,
        seed=spec.seed if isinstance(spec, SamplingFields) else 0,
        allows_ensemble=allows_ensemble,
    )
    note_model(resolved.model, refs=resolved.refs, prompt=resolved.prompt)
    return resolved


def _parts(ref: PromptRef) -> list[tuple[str, float]]:
    if isinstance(ref, str):
        return [(ref, 1.0)]
    if isinstance(ref, Ensemble):
        return [(part, 1.0) for part in ref.refs]
    if isinstance(ref, Concat):
        return [(part, 1.0) for part in ref.concat]
    return [(part.ref, part.weight) for part in ref.mix]


def base_shapes(state: EngineState) -> list[BaseShape]:
    """The hosted models in the form that prompts are validated against."""
    fields = ("revision", "n_layers", "d_model", "n_kv_heads", "d_head", "n_positions")
    return [BaseShape(name=name, **{field: card[field] for field in fields}) for name, card in state.models.items()]


def _resolve(store: PromptStore, ref: str, *, base: str, field: str, allows_posterior: bool) -> PromptManifest:
    try:
        return store.resolve(ref, base=base, allows_posterior=allows_posterior)
    except (NotFound, InvalidRequest) as error:
        raise type(error)(error.detail, loc=(field,)) from None


def _require_one_shape(manifests: Sequence[PromptManifest], *, refs: Sequence[str]) -> None:
    first = _shape(manifests[0])
    for manifest, ref in zip(manifests[1:], refs[1:], strict=True):
        if _shape(manifest) != first:
            raise InvalidRequest(
                f"The prompts of a mix must have one shape: {refs[0]!r} is {first}, {ref!r} is {_shape(manifest)}.",
                loc=("prompt_ref", "mix"),
            )


def _shape(manifest: PromptManifest) -> str:
    """The properties that mixed prompts must share, as text."""
    where = f", {manifest.where}" if manifest.where else ""
    is_layered = manifest.form.is_layered
    layers = f", layers {list(manifest.layers)}" if is_layered and manifest.layers is not None else ""
    return f"{manifest.kind}{where}, n_virtual {manifest.n_virtual}{layers}"


def _prompt(manifests: Sequence[PromptManifest], weights: Sequence[float]) -> PromptChoice:
    return PromptChoice(
        parts=tuple((m.sha256, weight) for m, weight in zip(manifests, weights, strict=True)),
        refs=tuple(m.ref for m in manifests),
    )


def _used(ref: str | Mix, manifests: Sequence[PromptManifest], weights: Sequence[float]) -> PromptUsed:
    first = manifests[0]
    mixed = isinstance(ref, Mix)
    parts = [MixPart(ref=m.sha256, weight=weight) for m, weight in zip(manifests, weights, strict=True)]
    return PromptUsed(
        ref=ref,
        sha256=None if mixed else first.sha256,
        kind=first.prompt_kind,
        n_virtual=first.n_virtual,
        parts=parts if mixed else None,
    )


def _concat(ref: Concat, manifests: Sequence[PromptManifest], *, n_positions: int) -> tuple[PromptChoice, PromptUsed]:
    forms = [Form.of(manifest) for manifest in manifests]
    form = concat_form(forms, refs=ref.concat, n_positions=n_positions, at=("prompt_ref", "concat"))
    choice = replace(_prompt(manifests, [1.0] * len(manifests)), is_concat=True)
    parts = [MixPart(ref=manifest.sha256, weight=1.0) for manifest in manifests]
    return choice, PromptUsed(ref=ref, kind=form.kind, n_virtual=form.n_virtual, parts=parts)
