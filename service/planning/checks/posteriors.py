"""Checks of the ``posterior`` of a ``tune`` spec."""

from __future__ import annotations

from promptatlas.types import TuneSpec
from promptatlas.types.posteriors import EnsemblePosterior, LaplacePosterior, SgldPosterior

from service.errors import InvalidRequest
from service.planning.checks.methods import Form
from service.planning.checks.priors import check_density
from service.store.prompts.native_format import MAX_STORED_MEMBERS


def check_posterior(spec: TuneSpec, *, form: Form) -> None:
    """Refuse a posterior that the rest of the spec does not define.

    Raises:
        InvalidRequest: at the field.
    """
    method = spec.posterior
    if method is None or isinstance(method, EnsemblePosterior):
        return
    if len(spec.priors) != 1:
        raise InvalidRequest(
            f"Expected one prior for {method.method}, which samples one posterior; got {len(spec.priors)}.",
            loc=("priors",),
        )
    check_density(
        spec.priors[0], form=form, index=0, at=("posterior", "method"), needed_by=f"posterior {method.method}"
    )
    if spec.regularize.weight > 0:
        raise InvalidRequest(
            f"Expected regularize.weight 0 for {method.method}: the prior acts as a density already.",
            loc=("regularize", "weight"),
        )
    if getattr(spec.method, "d_reparametrised", None) is not None:
        raise InvalidRequest(
            f"Expected no d_reparametrised for {method.method}: the density is over the prompt, not over the network.",
            loc=("method", "d_reparametrised"),
        )
    if isinstance(spec.optimizer.lr, list) and len(spec.optimizer.lr) != 1:
        raise InvalidRequest(
            f"Expected one lr for {method.method}, got {len(spec.optimizer.lr)}.", loc=("optimizer", "lr")
        )
    if not isinstance(method, LaplacePosterior) and spec.early_stopping is not None:
        raise InvalidRequest(
            f"Expected no early_stopping for {method.method}: its members are samples, not minima.",
            loc=("early_stopping",),
        )
    if spec.optimizer.weight_decay > 0:
        raise InvalidRequest(
            f"Expected weight_decay 0 for {method.method}: it would change the density.",
            loc=("optimizer", "weight_decay"),
        )
    if isinstance(method, SgldPosterior):
        _check_samples(spec, method)


def _check_samples(spec: TuneSpec, method: SgldPosterior) -> None:
    defaults = SgldPosterior()
    for name in ("decay", "damping", "gamma"):
        if not method.preconditioned and getattr(method, name) != getattr(defaults, name):
            raise InvalidRequest(
                f"Expected preconditioned true with {name}, which belongs to pSGLD; got false.", loc=("posterior", name)
            )
    steps = spec.optimizer.steps
    burn_in = steps // 2 if method.burn_in is None else method.burn_in
    if burn_in + method.thin > steps:
        raise InvalidRequest(
            f"Expected burn_in + thin of at most {steps}, the number of steps; got {burn_in} + {method.thin}: there would be no "
            "sample.",
            loc=("posterior", "burn_in"),
        )
    n_samples = len(spec.seeds) * ((steps - burn_in) // method.thin)
    if n_samples > MAX_STORED_MEMBERS:
        raise InvalidRequest(
            f"Expected at most {MAX_STORED_MEMBERS} samples; {len(spec.seeds)} chains have {n_samples}. Choose a larger thin.",
            loc=("posterior", "thin"),
        )
