from __future__ import annotations

from dataclasses import replace

import pytest
from promptatlas.results.tensors.names import canonical
from promptatlas.types.sites import NAMED_SITES, NamedSite, parse_alias
from torch import nn

from service.engine.attention.kernels import REPORTED_SITES
from service.engine.model.architecture import find_architecture
from service.engine.model.sites import MODEL_SITES, SiteCatalogue, Tap
from service.errors import InvalidRequest
from tests.oracle.models import ARCHITECTURES, N_LAYERS, build_model

CATALOGUE = SiteCatalogue(
    n_layers=4, d_model=11, vocab_size=97, n_heads=3, widths={"model.layers.1.mlp": (11,), "q": (3, 7)}
)


@pytest.mark.parametrize(
    ("sites", "layers", "labels"),
    [
        (["resid_post"], [1, -1], ["resid_post.1", "resid_post.3"]),
        (["resid_pre", "embed"], "all", ["resid_pre.0", "resid_pre.1", "resid_pre.2", "resid_pre.3", "embed"]),
        (["blocks.2.hook_resid_post", "blocks.0.attn.hook_pattern"], [1], ["resid_post.2", "attn_probs.0"]),
        (["hook_embed", "hook_logits"], [], ["embed", "logits"]),
        (["attn_out.-1", "attn_out"], [3], ["attn_out.3"]),
        (["model.layers.1.mlp", "logits"], [], ["model.layers.1.mlp", "logits"]),
        (["blocks.1.hook_mlp_out", "blocks.1.hook_attn_out"], [], ["mlp_out.1", "attn_out.1"]),
    ],
)
def test_names_resolve_to_canonical_labels(sites: list[str], layers: list[int], labels: list[str]) -> None:
    assert [tap.label for tap in CATALOGUE.resolve(sites, layers)] == labels


@pytest.mark.parametrize(
    ("sites", "layers", "loc", "says"),
    [
        (["resid_post"], [0, 4], ("layers", 1), "0 to 3"),
        (["resid_post"], [-5], ("layers", 0), "0 to 3"),
        (["resid_post"], [], ("layers",), "at least one layer"),
        ([], [0], ("sites",), "at least one site"),
        (["embed", "blocks.9.hook_resid_post"], [0], ("sites", 1), "0 to 3"),
        (["resid_mid"], [0], ("sites", 0), "resid_post"),
        (["blocks.1.hook_nothing"], [0], ("sites", 0), "not known"),
    ],
)
def test_unknown_sites_and_layers_are_refused(
    sites: list[str], layers: list[int], loc: tuple[str | int, ...], says: str
) -> None:
    with pytest.raises(InvalidRequest, match=says) as error:
        CATALOGUE.resolve(sites, layers)
    assert error.value.loc == loc


def test_widths_of_rows() -> None:
    sizes = {
        tap.label: CATALOGUE.n_values(tap, n_keys=5)
        for tap in (
            Tap("embed"),
            Tap("logits"),
            Tap("attn_probs", 0),
            Tap("module", path="q"),
            Tap("mlp_out", 2),
        )
    }
    assert sizes == {"embed": 11, "logits": 97, "attn_probs.0": 15, "q": 21, "mlp_out.2": 11}


def test_the_table_has_a_row_for_each_named_site() -> None:
    assert set(MODEL_SITES) == {site.name for site in NAMED_SITES}
    assert {name for name, site in MODEL_SITES.items() if site.find is None} == set(REPORTED_SITES)
    assert CATALOGUE.names == (*(site.name for site in NAMED_SITES), "model.layers.1.mlp", "q")


@pytest.mark.parametrize("site", [site for site in NAMED_SITES if site.alias], ids=lambda site: site.name)
def test_engine_and_sdk_give_an_alias_the_same_label(site: NamedSite) -> None:
    label = f"{site.name}.2" if site.layered else site.name
    assert site.alias is not None
    alias = f"blocks.2.{site.alias}" if site.layered else site.alias
    assert [tap.label for tap in CATALOGUE.resolve([alias], [])] == [label]
    assert canonical(alias) == label
    # The alias of a layered site needs a block, and that of another site has none.
    assert parse_alias(site.alias if site.layered else f"blocks.2.{site.alias}") is None


def test_a_lens_name_with_its_own_tensor_is_its_own_label() -> None:
    name = "blocks.1.hook_mlp_out"
    assert [tap.label for tap in replace(CATALOGUE, widths={name: (11,)}).resolve([name], [])] == [name]
    with pytest.raises(InvalidRequest, match="no module of this model has the tensor") as error:
        replace(CATALOGUE, unreadable=frozenset({name})).resolve(["embed", name], [])
    assert error.value.loc == ("sites", 1)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_sites_are_the_modules_that_the_oracle_knows(name: str) -> None:
    model, parts = build_model(name), ARCHITECTURES[name].parts
    architecture = find_architecture(model)
    blocks = model.get_submodule(parts.blocks)

    def module(kind: str, layer: int | None = None) -> nn.Module:
        return Tap(kind, layer).module(model, architecture)

    assert module("embed") is model.get_input_embeddings()
    assert module("final_norm") is model.get_submodule(parts.norm)
    assert module("logits") is model
    for i in range(N_LAYERS):
        assert module("resid_pre", i) is module("resid_post", i) is blocks[i]
        assert module("attn_out", i) is blocks[i].get_submodule(parts.attention)
        assert module("mlp_out", i) is blocks[i].get_submodule(parts.mlp)
    path = f"{parts.blocks}.1.{parts.inner}"
    assert Tap("module", path=path).module(model, architecture) is model.get_submodule(path)
