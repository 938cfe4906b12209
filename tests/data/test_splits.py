"""Sides of compositions: fixed for ever, the same in every dataset, both sides filled where that is possible."""

import random

import numpy as np
import pytest

from xtlray.chem.formula import composition_keys, parse
from xtlray.data.splits import Protocol, cut, places
from xtlray.errors import RequestError


def sides(formulas, protocol=Protocol.POOL, published=None):
    found = cut(parse(formulas)[0], protocol, published)
    return [["train", "val", "test"][side] for side in found.side_B]


def many(count, seed=0):
    draw = random.Random(seed)
    elements = ["H", "Li", "O", "Na", "Si", "Fe", "Cu", "La", "Pb"]
    return ["".join(f"{e}{draw.randint(1, 9)}" for e in draw.sample(elements, 3)) for _ in range(count)]


def test_places_never_change():
    """Another release of xtlray must find each composition where the last one put it."""
    u_B = places(parse(["LiF", "C", "SiO2", "CaTiO3", "Fe2O3", "BN"])[0])
    np.testing.assert_allclose(u_B, [0.0069, 0.0956, 0.1295, 0.1968, 0.5047, 0.9721], atol=5e-5)


def test_sides_of_a_pool():
    assert sides(["LiF", "C", "GaN", "SiO2", "CaTiO3", "NaCl"]) == ["test", "test", "val", "val", "train", "train"]


def test_without_test_file_the_pool_test_compositions_validate():
    assert sides(["LiF", "C", "GaN", "NaCl"], Protocol.TRAIN_ONLY) == ["val", "val", "train", "train"]


def test_published_test_rows_stay():
    formulas = ["LiF", "NaCl", "GaN", "LiF", "NaCl", "C"]
    published = ["train", "train", "train", "test", "test", "test"]
    found = cut(parse(formulas)[0], Protocol.PUBLISHED, published)
    assert sides(formulas, Protocol.PUBLISHED, published) == ["val", "train", "train", "test", "test", "test"]
    assert found.shared == 2  # LiF and NaCl
    assert found.compositions == 4


def test_equal_fractions_fall_on_one_side():
    for text in many(300):
        compositions, _ = parse([text, f"({text})7"])
        assert len(set(places(compositions))) == 1


def test_shares_and_disjointness_of_a_big_pool():
    formulas = many(20_000)
    compositions, _ = parse(formulas)
    found = cut(compositions, Protocol.POOL)
    side_by_key = {}
    for key, side in zip(composition_keys(compositions), found.side_B.tolist(), strict=True):
        assert side_by_key.setdefault(key, side) == side
    assert found.compositions == len(side_by_key)
    share = np.bincount(list(side_by_key.values())) / len(side_by_key)
    np.testing.assert_allclose(share, [0.81, 0.09, 0.10], atol=0.012)
    assert found.shared == 0


def test_a_composition_is_on_the_same_side_in_every_pool():
    formulas = many(5_000)
    shuffled = formulas[1000:]
    random.Random(1).shuffle(shuffled)
    in_all = dict(zip(formulas, sides(formulas), strict=True))
    assert all(in_all[text] == side for text, side in zip(shuffled, sides(shuffled), strict=True))


def test_what_a_target_trains_on_is_no_test_composition_of_a_pool():
    formulas = many(5_000)
    pool = dict(zip(formulas, sides(formulas), strict=True))
    target = zip(formulas, sides(formulas, Protocol.TRAIN_ONLY), strict=True)
    assert all(pool[text] != "test" for text, side in target if side == "train")


@pytest.mark.parametrize(
    ("formulas", "protocol", "expected"),
    [
        # places: LiF 0.007, Al 0.039, C 0.096 | GaN 0.107, SiO2 0.13 | Fe2O3 0.50, NaCl 0.74, BN 0.97
        (["BN", "Fe2O3", "NaCl"], Protocol.POOL, ["train", "val", "train"]),
        (["BN", "Fe2O3", "BN", "Fe4O6"], Protocol.POOL, ["train", "val", "train", "val"]),
        (["GaN", "SiO2"], Protocol.POOL, ["val", "train"]),
        (["LiF", "SiO2"], Protocol.POOL, ["train", "val"]),
        (["LiF", "BN"], Protocol.POOL, ["train", "val"]),
        (["LiF", "Al", "C"], Protocol.POOL, ["test", "train", "val"]),
        (["LiF", "C"], Protocol.TRAIN_ONLY, ["val", "train"]),
        (["NaCl", "BN"], Protocol.TRAIN_ONLY, ["val", "train"]),
    ],
)
def test_small_datasets_fill_both_sides(formulas, protocol, expected):
    assert sides(formulas, protocol) == expected
    assert sides(formulas[::-1], protocol) == expected[::-1]


def test_published_test_rows_do_not_fill_a_side():
    formulas, published = ["NaCl", "BN", "LiF"], ["train", "train", "test"]
    assert sides(formulas, Protocol.PUBLISHED, published) == ["val", "train", "test"]
    with pytest.raises(RequestError, match="1 different composition in 2 rows"):
        sides(["NaCl", "NaCl", "BN"], Protocol.PUBLISHED, ["train", "train", "test"])


@pytest.mark.parametrize("formulas", [["SiO2"], ["FeO2", "Fe2O4", "O2Fe"]])
def test_one_composition_is_too_few(formulas):
    with pytest.raises(RequestError, match=r"too small.*1 different composition in .*give more rows"):
        sides(formulas)
