"""The field of regressors: each finds a plain relation, survives its file, and is the same for the same seed."""

from __future__ import annotations

import json

import numpy as np
import pytest

from xtlray.errors import UnknownNameError
from xtlray.nn.heads import pack_head, unpack_head
from xtlray.transfer.regressors import REGRESSORS, get_regressor, search
from xtlray.transfer.settings import REGRESSORS as TABLES
from xtlray.transfer.settings import TransferSettings

RANDOM = np.random.default_rng(0)
H_BH = RANDOM.random((260, 6)).astype(np.float32)
Y_B = 40 + 30 * H_BH[:, 0].astype(np.float64) - 20 * H_BH[:, 1] + 10 * H_BH[:, 2]
TRAIN, VAL = slice(0, 200), slice(200, 260)


def searched(name: str, seed: int = 0) -> tuple[object, list[dict[str, object]]]:
    return search(name, REGRESSORS[name].variants[0], H_BH[TRAIN], Y_B[TRAIN], seed)


@pytest.mark.parametrize("name", REGRESSORS)
def test_it_finds_a_plain_relation_and_survives_its_file(name: str) -> None:
    estimator, tried = searched(name)
    answers = estimator.predict(H_BH[VAL])  # type: ignore[attr-defined]
    assert np.abs(answers - Y_B[VAL]).mean() < 0.6 * np.abs(Y_B[VAL] - Y_B[TRAIN].mean()).mean()
    points = list(REGRESSORS[name].settings())
    assert len(tried) == (len(points) if len(points) > 1 else 0)  # one point needs no comparison
    assert json.loads(json.dumps(tried)) == tried
    again = unpack_head(pack_head(estimator), "here")
    assert np.array_equal(again.predict(H_BH[VAL]), answers)


@pytest.mark.parametrize("name", REGRESSORS)
def test_the_same_seed_gives_the_same_answers(name: str) -> None:
    first, again = (searched(name)[0].predict(H_BH[VAL]) for _ in range(2))  # type: ignore[attr-defined]
    assert np.array_equal(first, again)


@pytest.mark.parametrize("name", REGRESSORS)
def test_every_variant_is_plain_data_and_can_be_fitted(name: str) -> None:
    entry = REGRESSORS[name]
    assert json.loads(json.dumps([dict(variant) for variant in entry.variants])) == [*entry.variants]
    for variant in entry.variants:
        estimator, _ = search(name, variant, H_BH[:12], Y_B[:12], 0)
        assert np.isfinite(estimator.predict(H_BH[VAL])).all()


def test_the_point_of_a_grid_is_the_one_with_the_lowest_error_on_rows_held_out_of_the_fit() -> None:
    estimator, tried = searched("ridge")
    best = min(tried, key=lambda entry: entry["held_out_mae"])  # type: ignore[arg-type, return-value]
    assert estimator.regressor_.steps[-1][1].alpha == best["alpha"]  # type: ignore[attr-defined]
    assert searched("ridge", 1)[1] != tried  # another seed holds out other rows


def test_a_grid_without_a_number_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xtlray.transfer.regressors.mae", lambda y_B, predicted_B: float("inf"))
    with pytest.raises(FloatingPointError, match="no setting of ridge"):
        searched("ridge")


def test_units_do_not_matter() -> None:
    """What is penalised or tolerated is in units of the targets' spread: meV and eV give the same model."""
    for name, entry in REGRESSORS.items():
        if entry.scaled:
            small, _ = search(name, entry.variants[0], H_BH[TRAIN], Y_B[TRAIN] / 1000, 0)
            large, _ = searched(name)
            found, expected = small.predict(H_BH[VAL]) * 1000, large.predict(H_BH[VAL])  # type: ignore[attr-defined]
            assert np.allclose(found, expected, rtol=1e-3), name


def test_the_tables_name_regressors_and_more_effort_tries_more() -> None:
    assert all(set(table) <= set(REGRESSORS) for table in TABLES.values())
    assert set(TABLES["quick"]) < set(TABLES["standard"]) < set(TABLES["full"]) == set(REGRESSORS)
    with pytest.raises(UnknownNameError, match="extra_trees"):
        get_regressor("extra_tree")


def test_a_job_says_which_and_on_how_many_rows() -> None:
    table = {"quick": {"ridge": "all", "svr": 100}, "standard": {"svr": 100}}
    found = TransferSettings.parse({"targets": "a/b", "regressors": table}, "job.yaml")
    assert found.regressors_for(100) == ("ridge", "svr")
    assert found.regressors_for(101) == ("ridge",)
    other = TransferSettings.parse({"targets": "a/b", "regressors": table, "effort": "standard"}, "job.yaml")
    assert other.regressors_for(101) == ("ridge",)  # something has to be tried
