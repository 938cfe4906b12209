"""Models in the package: copies that say whose they are, and that are small."""

from __future__ import annotations

import pytest

from tests import tiny
from xtlray.errors import RequestError
from xtlray.registry import builtin
from xtlray.registry.builtin import into_package
from xtlray.registry.model import load_model
from xtlray.registry.versions import ModelRef, complete_versions
from xtlray.store import Store
from xtlray.store import builtin as package


def test_a_copy_is_the_model_under_another_name(store: Store, tmp_path_factory: pytest.TempPathFactory) -> None:
    ref = tiny.model(store, "oqmd-best")
    place = Store.open(str(tmp_path_factory.mktemp("package")))
    made = into_package(ref, "oqmd", place)
    assert str(made) == "builtin/oqmd@1"
    assert str(into_package(ref, "oqmd", place)) == "builtin/oqmd@2"
    copied, card = made.card(), ref.card()
    assert copied.copied_from == "oqmd-best@1"
    assert copied.model_copy(update={"name": card.name, "copied_from": None}) == card
    assert load_model(made).predict("NaCl").value[0] == load_model(ref).predict("NaCl").value[0]


def test_a_model_that_is_too_big(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builtin, "MOST_BYTES", 10)
    with pytest.raises(RequestError, match=r"too big.*MB.*smaller"):
        into_package(tiny.model(store, "oqmd-best"), "oqmd", store)


def test_the_models_of_the_package_load_and_are_small() -> None:
    found = [ModelRef(package(), name, version) for name, version in complete_versions(package())]
    assert [ref.name for ref in found] == ["builtin/oqmd"]
    for ref in found:
        model = load_model(ref)
        assert model.card.copied_from
        assert model.card.commit
        assert model.card.citation
        assert sum(len(package().get(f"{ref.folder}/{file}")) for file in model.card.files) <= builtin.MOST_BYTES


ANSWERS = {  # of torch 2.13.0, the versions on the card: eV/atom, eV/atom, Å³/atom, eV
    "SiO2": (-2.535748, -7.432598, 10.343396, 1.150939),
    "TiN": (-1.901748, -9.694722, 9.496601, -0.000555),
    "NaCl": (-2.030619, -3.356311, 20.768533, 5.165206),
    "FeCoNi": (0.415969, -6.480362, 12.632898, 0.000046),
    "Ca(OH)2": (-2.082909, -5.61619, 9.559301, 4.54411),
}


def test_the_model_of_the_package_answers_as_when_it_was_put_there() -> None:
    """Its card is older than golden answers. Their tolerance: a ten-thousandth of the spread of the targets."""
    model = load_model(ModelRef(package(), "builtin/oqmd", 1))
    for p, (name, spread) in enumerate(zip(model.properties, model.net.scaler.scale, strict=True)):
        found = model.predict(list(ANSWERS), name)["value"].tolist()
        assert found == pytest.approx([answer[p] for answer in ANSWERS.values()], abs=1e-4 * spread), name
