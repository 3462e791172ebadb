"""Compiling, mixing and caching prompts."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from peft.tuners.cartridge.utils import compose_cartridge_adapters

from service.engine.attention.metadata import PackedMetadata, SequenceGroup
from service.engine.inputs import PromptChoice
from service.engine.model.hosted_model import HostedModel
from service.engine.prompts.cache import PromptCache
from service.engine.prompts.prompt import Prompt, concat_prompts, from_tensors, mix_prompts
from service.engine.prompts.registry import compile_prompt
from service.errors import InvalidRequest, NotFound
from service.store.prompts.peft.reading import parse_peft
from tests.oracle.models import build_model
from tests.service.store.prompts.peft.adapters import CONFIGS, LLAMA, saved, tuned, zip_of


@pytest.fixture(scope="module")
def model() -> HostedModel:
    return HostedModel("m", build_model("llama"), None, revision="")


def vectors(n: int = 5, *, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, 56, generator=torch.Generator().manual_seed(seed))


def choice(*parts: tuple[str, float]) -> PromptChoice:
    return PromptChoice(parts=parts)


def test_kinds_are_told_from_the_tensors() -> None:
    assert from_tensors({"soft": vectors()}).kind == "soft"
    deep = from_tensors({"deep.2": vectors(), "deep.0": vectors()}, where="carried")
    assert (deep.kind, deep.where, deep.layers, deep.n_virtual) == ("deep", "carried", (0, 2), 5)
    assert from_tensors({"deep.1": vectors()}).where == "local"
    prefix = from_tensors({"prefix": torch.zeros(3, 2, 2, 9, 14)})
    assert (prefix.kind, prefix.n_virtual, prefix.layers) == ("prefix", 9, ())


@pytest.mark.parametrize("names", [[], ["soft", "prefix"], ["deep.x"], ["deep.1", "soft"], ["hard"]])
def test_tensors_of_no_kind_are_refused(names: list[str]) -> None:
    with pytest.raises(InvalidRequest, match=r"soft, deep\.<layer>"):
        from_tensors({name: vectors() for name in names})


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        ({"soft": torch.zeros(5, 55)}, r"\(5, 56\).*\(5, 55\)"),
        ({"deep.3": torch.zeros(5, 56)}, "layers 0 to 2"),
        ({"prefix": torch.zeros(3, 2, 4, 5, 14)}, r"\(3, 2, 2, 5, 14\)"),
    ],
)
def test_a_prompt_of_another_shape_is_refused(model: HostedModel, tensors: dict[str, torch.Tensor], says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        compile_prompt(model, from_tensors(tensors))


def test_local_prompts_are_there_in_their_layers_alone(model: HostedModel) -> None:
    local = compile_prompt(model, from_tensors({"deep.1": vectors()}, where="local"))
    carried = compile_prompt(model, from_tensors({"deep.1": vectors()}, where="carried"))
    assert [local.first_visible(layer) for layer in range(3)] == [5, 0, 5]
    assert [carried.first_visible(layer) for layer in range(3)] == [5, 0, 0]
    assert local.n_bytes * 2 == carried.n_bytes


@pytest.mark.parametrize("names", [("soft",), ("deep.0", "deep.2"), ("deep.1",)])
@pytest.mark.parametrize("where", ["local", "carried"])
def test_gradients_through_the_compiled_form_are_those_of_plain_transformers(
    names: tuple[str, ...], where: str
) -> None:
    """Tuning is serving with gradients on: d loss / d vectors against inputs_embeds (soft), and finite differences (deep)."""
    if names == ("soft",) and where == "local":
        pytest.skip("soft has no where")
    plain = build_model("llama")
    hosted = HostedModel("m", copy.deepcopy(plain), None, revision="")
    tensors = {name: vectors(seed=i).requires_grad_() for i, name in enumerate(names)}
    prompt = Prompt("soft" if names == ("soft",) else "deep", tensors, None if names == ("soft",) else where)  # type: ignore[arg-type]
    ids = torch.tensor([4, 9, 60, 33])

    def loss(prompt: Prompt) -> torch.Tensor:
        plan = PackedMetadata([SequenceGroup(0, 1, 4, compile_prompt(hosted, prompt))])
        logits = hosted.forward(plan, ids=ids, positions=plan.positions, logits_at=torch.arange(4))
        return torch.nn.functional.cross_entropy(logits[:-1], ids[1:])

    value = loss(prompt)
    gradients = torch.autograd.grad(value, list(tensors.values()))
    if names == ("soft",):
        own = vectors(seed=0).requires_grad_()
        logits = plain(inputs_embeds=torch.cat([own, plain.get_input_embeddings()(ids)])[None]).logits[0, 5:]
        expected = torch.nn.functional.cross_entropy(logits[:-1], ids[1:])
        torch.testing.assert_close(value, expected)
        torch.testing.assert_close(gradients[0], torch.autograd.grad(expected, own)[0], rtol=1e-4, atol=1e-6)
        return
    for name, gradient in zip(names, gradients, strict=True):
        direction = torch.nn.functional.normalize(vectors(seed=77), dim=None)  # type: ignore[arg-type]
        step = 1e-2
        with torch.no_grad():
            ends = [
                loss(Prompt("deep", {**tensors, name: tensors[name] + sign * step * direction}, where))  # type: ignore[arg-type]
                for sign in (1, -1)
            ]
        slope = (ends[0] - ends[1]) / (2 * step)
        torch.testing.assert_close((gradient * direction).sum(), slope, rtol=2e-2, atol=2e-4)


def test_a_mix_is_the_weighted_sum_of_vectors() -> None:
    a, b = from_tensors({"soft": vectors(seed=1)}), from_tensors({"soft": vectors(seed=2)})
    mixed = mix_prompts([(a, 0.3), (b, 0.9)])
    torch.testing.assert_close(mixed.tensors["soft"], 0.3 * a.tensors["soft"] + 0.9 * b.tensors["soft"])
    for other in (from_tensors({"soft": vectors(4)}), from_tensors({"deep.1": vectors()})):
        with pytest.raises(InvalidRequest, match="one shape"):
            mix_prompts([(a, 0.5), (other, 0.5)])
    with pytest.raises(InvalidRequest, match="one shape"):
        mix_prompts(
            [
                (from_tensors({"deep.1": vectors()}, where="local"), 0.5),
                (from_tensors({"deep.1": vectors()}, where="carried"), 0.5),
            ]
        )


def test_a_concatenation_of_prefixes_is_pefts_composition_of_cartridges(tmp_path: Path) -> None:
    prompts = []
    for i, scale in enumerate((1.0, -2.5)):
        adapter = tuned(LLAMA, CONFIGS["cartridge"]())
        with torch.no_grad():
            for parameter in adapter.prompt_encoder.parameters():
                parameter.mul_(scale)
        prompts.append(from_tensors(parsed(saved(adapter, tmp_path / str(i)))))
    compose_cartridge_adapters([tmp_path / "0", tmp_path / "1"], output_path=tmp_path / "both")
    expected = parsed(zip_of(tmp_path / "both"))
    found = concat_prompts(prompts)
    assert found.n_virtual == 2 * prompts[0].n_virtual
    torch.testing.assert_close(found.tensors["prefix"], expected["prefix"], rtol=0, atol=0)


def parsed(adapter: bytes) -> dict[str, torch.Tensor]:
    """The native tensors of a zipped adapter."""
    tensors = parse_peft(adapter, bases=[LLAMA]).tensors
    return {name: torch.from_numpy(values.copy()) for name, values in tensors.items()}


class Shelf:
    """A prompt loader that counts."""

    def __init__(self) -> None:
        self.loads: list[str] = []
        self.prompts = {name: from_tensors({"soft": vectors(seed=i)}) for i, name in enumerate("abcd")}

    def __call__(self, sha256: str) -> Prompt:
        self.loads.append(sha256)
        if sha256 not in self.prompts:
            raise NotFound(f"no prompt {sha256}")
        return self.prompts[sha256]


def test_the_cache_compiles_a_choice_once_and_never_serves_another(model: HostedModel) -> None:
    shelf = Shelf()
    cache = PromptCache(model, load=shelf, max_bytes=1 << 20)
    first = cache.get(choice(("a", 1.0)))
    assert cache.get(choice(("a", 1.0))) is first
    for other in (
        choice(("b", 1.0)),
        choice(("a", 0.5)),
        choice(("a", 0.5), ("b", 0.5)),
        choice(("a", 0.5), ("b", 0.25)),
    ):
        entry = cache.get(other)
        parts = [(shelf.prompts[name], weight) for name, weight in other.parts]
        expected = compile_prompt(model, mix_prompts(parts))
        assert entry.compiled.keys[1] is not None
        assert expected.keys[1] is not None
        torch.testing.assert_close(entry.compiled.keys[1], expected.keys[1])
        assert first.compiled.keys[1] is not None
        assert not torch.equal(entry.compiled.keys[1], first.compiled.keys[1])
    assert shelf.loads.count("b") == 3
    assert (cache.n_hits, cache.n_misses) == (1, 5)


def test_the_cache_forgets_the_least_recently_used(model: HostedModel) -> None:
    shelf = Shelf()
    size = compile_prompt(model, shelf.prompts["a"]).n_bytes
    cache = PromptCache(model, load=shelf, max_bytes=2 * size)
    for name in "abac":
        cache.get(choice((name, 1.0)))
    assert cache.n_bytes == 2 * size
    cache.get(choice(("a", 1.0)))
    cache.get(choice(("b", 1.0)))
    assert shelf.loads == ["a", "b", "c", "b"]


def test_a_failed_load_leaves_nothing_behind(model: HostedModel) -> None:
    shelf = Shelf()
    cache = PromptCache(model, load=shelf, max_bytes=1 << 20)
    with pytest.raises(NotFound):
        cache.get(choice(("a", 0.5), ("z", 0.5)))
    assert cache.n_bytes == 0
    assert cache.get(choice(("a", 1.0))).prompt is shelf.prompts["a"]
