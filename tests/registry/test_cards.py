"""A card tells all that a later reader could ask."""

from __future__ import annotations

import numpy as np
from sklearn.ensemble import ExtraTreesRegressor

from tests import tiny
from tests.registry.forging import members
from xtlray import provenance
from xtlray.cli.card import readable
from xtlray.data.dataset import Dataset
from xtlray.nn.features import Block, Features
from xtlray.nn.members import ConstantMember, HeadMember
from xtlray.records import Member, SplitMetrics
from xtlray.registry import cards
from xtlray.registry.library import describe
from xtlray.registry.parts import descriptors_of
from xtlray.store import Store


def test_a_card_has_all_that_it_should(store: Store) -> None:
    data = tiny.dataset(store)
    told = Dataset(
        data.store, data.card.model_copy(update={"licence": "CC BY 4.0", "citation": "A. Uthor"}), data.ingest
    )
    errors = SplitMetrics(rows=8, mae=0.6, rmse=0.8, r2=0.9, mae_spread=0.05)
    ref = tiny.model(store, data=told, metrics={"test": errors}, members=members())
    card = ref.card()
    assert (card.property, card.unit, card.label, card.input) == ("user/gap", "eV", "Gap", "elemental_fractions")
    assert card.dataset["data_hash"] == data.card.data_hash
    assert card.metrics["test"] == errors
    assert card.lineage[0]["dataset"] == "user/gap"
    assert set(card.elements_seen) == set(tiny.ELEMENTS)
    assert card.job == {"kind": "pretrain", "name": "tiny"}
    assert card.versions == provenance.versions()
    assert (card.hardware, card.environment) == (provenance.hardware(), provenance.machine())
    assert set(card.environment) == {"platform", "cores"}
    assert (card.licence, card.citation) == ("CC BY 4.0", "A. Uthor")
    assert card.intended_use.startswith("To estimate Gap (eV) of a compound from its composition alone")
    assert "polymorphs" in card.limits
    assert card.sizes == {name: store.size(f"{ref.folder}/{name}") for name in card.files}
    assert len(card.files) == 3
    assert card.golden is not None


def test_what_a_model_is_made_of(store: Store) -> None:
    trees = Features((Block("answers"),), (tiny.net_member(3),), 86)
    forest = ExtraTreesRegressor(3).fit(trees.of(tiny.inputs(20)), np.arange(20.0))
    nets = [tiny.net_member(1), tiny.net_member(2)]
    card = tiny.model(store, members=[*nets, *members()[1:], HeadMember(trees, forest)]).card()
    found = [(net.role, net.name, net.members, net.settings, net.weights) for net in card.nets]
    small = 86 * 8 + 8 + 8 * 4 + 4 + 4 + 1
    assert found == [
        ("member", "elemnet", 2, {"hidden": [8, 4]}, small),
        ("member", "ExtraTreesRegressor", 1, {}, None),
        ("member", "Ridge", 1, {}, None),
        ("member", "constant", 1, {}, None),
        ("member", "elemnet", 1, {"hidden": [8, 4]}, small + 8 * 8),
        ("source", "elemnet", 3, {"hidden": [8, 4]}, small),
    ]
    assert card.descriptors == ["elemental_fractions", "source_activations", "source_answers"]


def test_what_old_members_read() -> None:
    assert descriptors_of([Member(kind="net")]) == ["elemental_fractions"]
    assert descriptors_of([Member(kind="head")]) == ["source_activations"]
    assert descriptors_of([Member(kind="constant", value=1.0)]) == []


def test_a_label_with_a_control_character_makes_no_card_that_cannot_be_read(store: Store) -> None:
    data = tiny.dataset(store)
    told = Dataset(data.store, data.card.model_copy(update={"label": "Gap\x1b[2J\r"}), data.ingest)
    assert tiny.model(store, data=told, members=[ConstantMember(1.0)]).card().label == "Gap [2J "


def test_a_history_that_is_too_long_is_left_out(store: Store) -> None:
    ref = tiny.model(store, members=[ConstantMember(1.0)])
    assert cards._short_enough(ref.card()) == ref.card()
    long = ref.card().model_copy(update={"history": [{"note": "x" * 1000}] * 5000})
    assert cards._short_enough(long) == ref.card()


def test_a_card_for_people_is_short_and_says_what_counts(store: Store) -> None:
    interval = {"level": 0.9, "quantile": 3.0, "floor": 0.5}
    errors = {"test": SplitMetrics(rows=8, mae=0.6, rmse=0.8, r2=0.9, mae_spread=0.05)}
    ref = tiny.model(store, members=members(), metrics=errors, interval=interval)
    shown = readable(describe(ref))
    assert shown["metrics"] == {"test": "MAE 0.6 ± 0.05 eV, RMSE 0.8 eV, R² 0.9 on 8 rows"}
    assert (
        shown["members"] == "1 of the kind net, 1 of the kind head, 1 of the kind feature-net, 1 of the kind constant"
    )
    assert shown["nets"][0] == "Ridge: that answers, used by 1 member"
    assert shown["nets"][-1] == "elemnet (hidden 8, 4), 737 weights: that makes features, read by 2 members"
    golden = ref.card().golden
    assert golden is not None
    assert list(shown["golden"]) == golden.formulas
    assert " to " in shown["golden"][golden.formulas[0]]
    assert shown["files"]["m1.skops"].startswith(f"{ref.card().sizes['m1.skops']} bytes, SHA-256 ")
    several = tiny.model(store, "both", data=[tiny.dataset(store), tiny.dataset(store, "other/modulus", unit="GPa")])
    both = readable(describe(several))
    assert [one["metrics"]["val"] for one in both["properties"]] == ["MAE 0.5 eV on 9 rows", "MAE 5 GPa on 9 rows"]
    assert all(text.count("other/modulus") == 1 for text in both["golden"].values())
