"""Checks of priors against a model and a method: sources that exist, layers, prompts of the right form, densities.

The checks follow from what a prior refers to: sources, other priors, tuned prompts. What differs between the kinds of
priors is on their types in ``promptatlas.types.priors``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from promptatlas.types import ActivationsSource, DatasetPoints, EmbeddingsSource, Prior, PromptPrior, Source
from promptatlas.types.prior_sources import LayerPoints
from promptatlas.types.priors import PRIOR_TYPES, BasePrior, PosteriorPrior, PriorFault, PromptsFittedPrior

from service.errors import InvalidRequest
from service.planning.checks.examples import check_split
from service.planning.checks.methods import Form, layer_of
from service.planning.context import Base, Resolver
from service.planning.specs import Loc
from service.store.datasets.items import patterns_of
from service.store.prompts.manifests import PromptManifest

MIN_POINTS = 2
"""Texts of a source, and vectors of prompts; one point has no spread."""

AnyPrior = TypeVar("AnyPrior", bound=BasePrior)


@dataclass(frozen=True, kw_only=True)
class DrawTarget:
    """What a prior is drawn for: prompts of a form, on a model.

    needs_same_form: a ``prompt`` prior must have exactly this form, because tuning continues from it; otherwise only its
    vectors are used.
    """

    base: Base
    form: Form
    resolver: Resolver
    needs_same_form: bool = False

    @classmethod
    def vectors(cls, n: int, *, layer: int | None, base: Base, resolver: Resolver) -> DrawTarget:
        """``n`` vectors at the input of a layer counted from 0; None: among the token embeddings."""
        form = Form(kind="soft", n_virtual=n)
        if layer is not None:
            form = Form(kind="deep", n_virtual=n, layers=(layer,), where="local")
        return cls(base=base, form=form, resolver=resolver)


def complete_prior(prior: Prior, *, target: DrawTarget, at: Loc) -> Prior:
    """The prior with pinned references, and with the number of texts that its sources have.

    Args:
        at: location of the prior in the spec.

    Raises:
        NotFound, InvalidRequest: at the field that cannot work.
    """
    return _complete(prior, target, at)


def complete_priors(priors: Sequence[Prior], *, target: DrawTarget, at: Loc) -> list[Prior]:
    """Each prior of a list completed; as ``complete_prior``."""
    return [complete_prior(prior, target=target, at=(*at, i)) for i, prior in enumerate(priors)]


def check_density(
    prior: Prior,
    *,
    form: Form,
    index: int,
    at: Loc = ("regularize", "weight"),
    needed_by: str = "regularize.weight",
) -> None:
    """Refuse a prior without a density that has a gradient, which a penalty or a posterior needs.

    Raises:
        InvalidRequest: at ``at``.
    """
    if not _can_regularize(type(prior), form):
        kinds = sorted(str(each.model_fields["kind"].default) for each in PRIOR_TYPES if _can_regularize(each, form))
        raise InvalidRequest(
            f"{needed_by} needs priors whose density has a gradient; priors.{index}, {prior.kind!r}, has none for a "
            f"{form.kind} prompt. Expected one of: {', '.join(kinds)}.",
            loc=at,
        )


def _can_regularize(prior_type: type[BasePrior], form: Form) -> bool:
    return prior_type.can_regularize and (form.prompt_form.has_vectors or prior_type.draws_prefix_directly)


def _complete(prior: AnyPrior, target: DrawTarget, at: Loc) -> AnyPrior:
    if isinstance(prior, PromptPrior):
        return prior.model_copy(update={"ref": _pin(prior.ref, target, (*at, "ref"))})
    changes: dict[str, Any] = {}
    n_points: int | None = None
    if isinstance(prior, PromptsFittedPrior):
        allows_posterior = isinstance(prior, PosteriorPrior)
        changes["prompts"], n_points = _pin_fitted(
            prior.prompts, target, (*at, "prompts"), allows_posterior=allows_posterior
        )
    for name, field in type(prior).model_fields.items():
        value, place = getattr(prior, name), (*at, field.alias or name)
        if isinstance(value, BasePrior):
            # The ends of an interpolation: of a prompt only the vectors are used.
            changes[name] = _complete(value, replace(target, needs_same_form=False), place)
        elif isinstance(value, EmbeddingsSource | ActivationsSource):
            changes[name] = _complete_source(value, target, place)
            n_points = _n_points(value, target)
    try:
        prior.check_points(n_points)
    except PriorFault as fault:
        raise InvalidRequest(str(fault), loc=(*at, fault.field)) from None
    return prior.model_copy(update=changes)


def _pin(ref: str, target: DrawTarget, at: Loc) -> str:
    """The pinned reference of a prompt that is used itself: of the target's form, or with vectors for it."""
    pinned, manifest = target.resolver.prompt(ref, base=target.base, at=at)
    form = Form.of(manifest)
    if target.needs_same_form:
        if form != target.form:
            raise InvalidRequest(
                f"Expected a prompt of the form that is tuned, {target.form}; got {ref!r}, which is {form}.", loc=at
            )
        return pinned
    _require_vectors(ref, manifest, target, at)
    if manifest.n_virtual != target.form.n_virtual:
        raise InvalidRequest(
            f"Expected a prompt with {target.form.n_virtual} vectors, as many as are drawn; got {ref!r} with "
            f"{manifest.n_virtual}.",
            loc=at,
        )
    return pinned


def _pin_fitted(refs: Sequence[str], target: DrawTarget, at: Loc, *, allows_posterior: bool) -> tuple[list[str], int]:
    """The pinned references of prompts that a prior is fitted to, and the number of their vectors."""
    pinned, n_vectors = [], 0
    for i, ref in enumerate(refs):
        known, manifest = target.resolver.prompt(ref, base=target.base, at=(*at, i), allows_posterior=allows_posterior)
        _require_vectors(ref, manifest, target, (*at, i))
        pinned.append(known)
        n_vectors += manifest.form.n_vectors(manifest.n_virtual) * manifest.n_members
    if n_vectors < MIN_POINTS:
        raise InvalidRequest(f"A distribution needs at least {MIN_POINTS} vectors, got {n_vectors}.", loc=at)
    return pinned, n_vectors


def _require_vectors(ref: str, manifest: PromptManifest, target: DrawTarget, at: Loc) -> None:
    """Refuse a prompt without vectors at the layers of the target, or among the token embeddings.

    A prefix has no vectors. For a prefix target, soft vectors are drawn and compiled, so soft prompts are expected.
    """
    kind = target.form.prompt_form.drawn_as
    layers = set(target.form.layers or ())
    if manifest.prompt_kind != kind or not layers <= set(manifest.layers or ()):
        wanted = kind + (f" prompt with layers {sorted(layers)}" if layers else " prompt")
        raise InvalidRequest(f"Expected a {wanted}, got {ref!r}, which is {Form.of(manifest)}.", loc=at)
    if manifest.d_model != target.base.d_model:
        raise InvalidRequest(
            f"Expected vectors of {target.base.d_model} values, got {ref!r} with {manifest.d_model}.", loc=at
        )


def _complete_source(source: Source, target: DrawTarget, at: Loc) -> Source:
    if isinstance(source, ActivationsSource):
        points = source.activations
        if points.layer is not None:
            layer_of(points.layer, base=target.base, at=(*at, "activations", "layer"))
        return source.model_copy(update={"activations": _complete_points(points, target, (*at, "activations"))})
    if isinstance(source.embeddings, DatasetPoints):
        return source.model_copy(
            update={"embeddings": _complete_points(source.embeddings, target, (*at, "embeddings"))}
        )
    return source


def _n_points(source: Source, target: DrawTarget) -> int | None:
    """The number of points of a source; None for texts, whose tokens are counted by the run."""
    is_vocabulary = isinstance(source, EmbeddingsSource) and source.embeddings == "vocabulary"
    return target.base.vocab_size if is_vocabulary else None


def _complete_points(points: DatasetPoints | LayerPoints, target: DrawTarget, at: Loc) -> DatasetPoints | LayerPoints:
    """The points with at most as many texts as the split has; InvalidRequest if ``n`` was set to more."""
    dataset = target.resolver.dataset(points.dataset, at=(*at, "dataset"))
    patterns_of(dataset, template=None, loc=(*at, "dataset"))
    n_texts = check_split(dataset, split=points.split, name=points.dataset, at=(*at, "split"), n_least=MIN_POINTS)
    if "n" in points.model_fields_set:
        check_split(dataset, split=points.split, name=points.dataset, at=(*at, "n"), n_least=points.n)
    return points.model_copy(update={"n": min(points.n, n_texts)})
