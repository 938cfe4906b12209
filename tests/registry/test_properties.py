"""A model of several properties: each answers in its unit, its card tells of each, and old cards still read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tests import tiny
from xtlray.chem.formula import parse
from xtlray.data.dataset import Dataset
from xtlray.data.overlap import keys_tested_on, rows_among
from xtlray.data.splits import Protocol
from xtlray.errors import RequestError, StoreError, UnknownNameError
from xtlray.nn.members import ConstantMember, Head
from xtlray.records import ModelCard
from xtlray.registry.cards import WITHOUT
from xtlray.registry.library import list_models
from xtlray.registry.model import load_model
from xtlray.registry.verifying import verify
from xtlray.registry.versions import ModelRef
from xtlray.store import Store, canonical_json

WITHOUT_COPPER = tuple(formula for formula in tiny.FORMULAS if "Cu" not in formula)
FORMULAS = ["LiO", "Fe2O3"]


@pytest.fixture
def datasets(store: Store) -> list[Dataset]:
    """Gaps of all compositions, and a modulus of those without copper."""
    return [tiny.dataset(store), tiny.dataset(store, "other/modulus", WITHOUT_COPPER, unit="GPa")]


@pytest.fixture
def ref(store: Store, datasets: list[Dataset]) -> ModelRef:
    return tiny.model(store, "both", data=datasets)


def answers(column: int) -> np.ndarray:
    """Means over the members of `tiny.model`."""
    compositions, _ = parse(FORMULAS)
    x_BF = tiny.ENCODER.encode(compositions)
    return np.mean([tiny.net_member(seed, outputs=2).predict_all(x_BF)[:, column] for seed in (1, 2)], axis=0)


# --- predicting ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "column", "unit"),
    [("user/gap", 0, "eV"), ("gap", 0, "eV"), ("other/modulus", 1, "GPa"), ("modulus", 1, "GPa"), (None, 0, "eV")],
)
def test_each_property_in_its_unit(ref: ModelRef, wanted: str | None, column: int, unit: str) -> None:
    frame = load_model(ref).predict(FORMULAS, wanted)
    assert frame["value"].to_numpy() == pytest.approx(answers(column))
    assert frame["unit"].tolist() == [unit, unit]
    assert answers(1).min() > 2 * answers(0).max()  # or the two could not be told apart


def test_the_choice_of_the_first_is_said_once(ref: ModelRef, warnings: list[str]) -> None:
    model = load_model(ref)
    model.predict("LiO", "gap")
    assert warnings == []
    model.predict("LiO")
    model.predict("LiO")
    assert warnings == ["both@1 answers for user/gap; name another property for other/modulus"]


def test_a_model_of_one_property_has_nothing_to_say(store: Store, warnings: list[str]) -> None:
    model = load_model(tiny.model(store))
    assert model.predict("LiO").equals(model.predict("LiO", property="gap"))
    assert warnings == []


def test_properties_that_it_does_not_answer_for(store: Store, ref: ModelRef, datasets: list[Dataset]) -> None:
    with pytest.raises(UnknownNameError, match=r"no property of both@1.*'modulos'.*other/modulus"):
        load_model(ref).predict("LiO", "modulos")
    twins = load_model(tiny.model(store, "twins", data=[datasets[0], tiny.dataset(store, "other/gap")]))
    with pytest.raises(RequestError, match=r"could mean several.*'gap'.*user/gap, other/gap"):
        twins.predict("LiO", "gap")
    assert twins.predict("LiO", "other/gap")["unit"].tolist() == ["eV"]


def test_an_element_is_new_to_the_property_that_never_saw_it(ref: ModelRef) -> None:
    model = load_model(ref)
    assert model.predict(["LiCu", "HeO"], "gap")["warning"].tolist()[0] is None
    frame = model.predict(["LiCu", "HeO"], "modulus")
    assert frame["warning"].tolist() == ["no training row held Cu", "the model's input cannot hold He"]
    assert frame["unit"].tolist() == ["GPa", "GPa"]


# --- the card --------------------------------------------------------------------------------------------------------


def test_the_card_tells_of_each_property(store: Store, ref: ModelRef, datasets: list[Dataset]) -> None:
    card = ref.card()
    assert [(one.name, one.unit, one.label) for one in card.properties] == [
        ("user/gap", "eV", "Gap"),
        ("other/modulus", "GPa", "Gap"),
    ]
    assert [one.metrics["val"].mae for one in card.properties] == [0.5, 5.0]
    assert [one.dataset["data_hash"] for one in card.properties] == [data.card.data_hash for data in datasets]
    assert [one.rows_train for one in card.properties] == [data.card.splits["train"] for data in datasets]
    assert (card.property, card.unit, card.metrics) == ("user/gap", "eV", card.properties[0].metrics)
    assert [step["dataset"] for step in card.lineage] == ["user/gap", "other/modulus"]
    assert [step["data_hash"] for step in card.lineage] == [data.card.data_hash for data in datasets]
    later = tiny.model(store, "later", source=card).card()
    found = [step.get("model") or step["dataset"] for step in later.lineage]
    assert found == ["user/gap", "both@1", "user/gap", "other/modulus"]


def test_elements_are_counted_by_property(ref: ModelRef, datasets: list[Dataset]) -> None:
    card = ref.card()
    gap, modulus = card.properties
    # The gaps hold all compositions that the moduli do.
    assert card.elements_seen == gap.elements_seen
    assert "Cu" in gap.elements_seen
    assert "Cu" not in modulus.elements_seen
    assert 0 < modulus.elements_seen["O"] < gap.elements_seen["O"]
    assert sum(gap.elements_seen.values()) == 2 * datasets[0].card.splits["train"]  # every formula has two elements


def test_rows_that_another_property_holds_out_are_not_counted(store: Store) -> None:
    """A published split on one side: what it tests on is no training row of the other property."""
    sides = ["test" if "Pb" in formula else "train" for formula in tiny.FORMULAS]
    published = tiny.dataset(store, "published/gap", sides=sides)
    assert published.card.split_protocol == Protocol.PUBLISHED
    pool = tiny.dataset(store, "pool/gap")
    card = tiny.model(store, "both", data=[published, pool]).card()
    assert "Pb" not in card.properties[1].elements_seen
    rows = card.properties[1].rows_train
    assert rows is not None
    assert 0 < rows < pool.card.splits["train"]


def test_the_card_tells_what_was_left_out(store: Store, datasets: list[Dataset]) -> None:
    """Rows and elements are of what was trained on; so the card of what is carried over tells it too."""
    sides = ["test" if "Pb" in formula else "train" for formula in tiny.FORMULAS]
    target = tiny.dataset(store, "user/target", sides=sides)
    card = tiny.model(store, "without", data=datasets, exclude=[target]).card()
    for one, data in zip(card.properties, datasets, strict=True):
        left_out = rows_among(data, "train", keys_tested_on([target]))
        assert left_out > 0
        assert one.rows_train == data.card.splits["train"] - left_out
        assert "Pb" not in one.elements_seen
    assert "Pb" not in card.elements_seen
    named = {"user/target": target.card.data_hash}
    assert [step[WITHOUT] for step in card.lineage] == [named, named]
    later = tiny.model(store, "later", data=target, source=card).card()
    assert [step.get(WITHOUT) for step in later.lineage] == [None, None, named, named]  # itself, the source, its data


@pytest.mark.parametrize(
    ("licences", "expected"),
    [
        (["CC BY 4.0", "CC BY 4.0"], "CC BY 4.0"),
        (["CC BY 4.0", "MIT"], "user/gap: CC BY 4.0; other/modulus: MIT"),
        (["CC BY 4.0", None], "user/gap: CC BY 4.0; other/modulus: not known"),
        ([None, None], None),
    ],
)
def test_every_licence_and_citation_is_named(
    store: Store, datasets: list[Dataset], licences: list[str | None], expected: str | None
) -> None:
    told = [
        Dataset(data.store, data.card.model_copy(update={"licence": said, "citation": said}), data.ingest)
        for data, said in zip(datasets, licences, strict=True)
    ]
    card = tiny.model(store, "both", data=told).card()
    assert (card.licence, card.citation) == (expected, expected)


def rewrite(ref: ModelRef, **changes: Any) -> None:
    """Change fields of a card, which has no seal then; None takes one away."""
    key = f"{ref.folder}/card.json"
    card = {**ref.store.get_json(key), **changes}
    ref.store.delete([key, f"{ref.folder}/card.sha256"])
    ref.store.create(key, canonical_json({name: value for name, value in card.items() if value is not None}))


def test_a_card_from_before_there_were_several_still_reads(store: Store) -> None:
    ref = tiny.model(store)
    before = load_model(ref).predict(FORMULAS)
    rewrite(ref, properties=None, schema_version=1)
    old = ref.card()
    assert old.properties == []
    (only,) = old.answers()
    assert (only.name, only.unit, only.metrics, only.elements_seen) == (
        "user/gap",
        "eV",
        old.metrics,
        old.elements_seen,
    )
    assert load_model(ref).predict(FORMULAS).equals(before)
    assert load_model(ref).predict(FORMULAS, "gap").equals(before)


def test_an_older_program_refuses_the_card_by_its_version(ref: ModelRef, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ModelCard, "SCHEMA", 4)
    with pytest.raises(StoreError, match=r"newer xtlray.*schema version 5 in models/both/1.*up to 4.*upgrade"):
        ref.card()


def test_outputs_that_the_card_does_not_name_are_refused(store: Store, datasets: list[Dataset], ref: ModelRef) -> None:
    with pytest.raises(StoreError, match=r"other properties than its card.*mixed@1: 1 outputs and 2 properties"):
        tiny.model(store, "mixed", data=datasets, members=[tiny.net_member(outputs=2), ConstantMember(1.0)])
    rewrite(ref, properties=ref.card().as_json()["properties"][:1], golden=None)
    with pytest.raises(StoreError, match="2 outputs and 1 properties"):
        load_model(ref)


# --- the library -----------------------------------------------------------------------------------------------------


def test_the_net_to_carry_over_knows_its_heads(ref: ModelRef) -> None:
    assert load_model(ref).net.heads == (Head("user/gap", "eV"), Head("other/modulus", "GPa"))


def test_the_listing_names_all_and_the_errors_of_the_first(ref: ModelRef) -> None:
    (row,) = [row for row in list_models(ref.store) if row["model"] == str(ref)]
    assert (row["property"], row["properties"]) == ("user/gap", ["user/gap", "other/modulus"])
    assert (row["unit"], row["val_mae"], row["test_mae"]) == ("eV", 0.5, 0.6)


def test_verifying_asks_for_every_property(store: Store, datasets: list[Dataset], ref: ModelRef) -> None:
    assert verify(ref)["predictions_checked"] == 2 * len(tiny.ELEMENTS)
    member = tiny.net_member(outputs=2)
    for layer, weight in zip(member.net.hidden, (1e20, 1.0), strict=True):
        layer.weight.data[:] = weight
    member.net.output.weight.data[:] = torch.tensor([[0.0], [1e20]])
    with pytest.raises(StoreError, match=r"does not answer with a number.*bad@1: Li, O.*other/modulus"):
        verify(tiny.model(store, "bad", data=datasets, members=[member]))
