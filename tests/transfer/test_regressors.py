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
    return search(name, H_BH[TRAIN], Y_B[TRAIN], H_BH[VAL], Y_B[VAL], seed)


@pytest.mark.parametrize("name", REGRESSORS)
def test_it_finds_a_plain_relation_and_survives_its_file(name: str) -> None:
    estimator, tried = searched(name)
    answers = estimator.predict(H_BH[VAL])  # type: ignore[attr-defined]
    error = np.abs(answers - Y_B[VAL]).mean()
    assert error < 0.6 * np.abs(Y_B[VAL] - Y_B[TRAIN].mean()).mean()
    assert error == pytest.approx(min(entry["val_mae"] for entry in tried))
    assert len(tried) == len(list(REGRESSORS[name].settings()))
    assert json.loads(json.dumps(tried)) == tried
    again = unpack_head(pack_head(estimator), "here")
    assert np.array_equal(again.predict(H_BH[VAL]), answers)


@pytest.mark.parametrize("name", REGRESSORS)
def test_the_seed_decides_where_the_entry_says_so(name: str) -> None:
    first, again, other = (searched(name, seed)[0].predict(H_BH[VAL]) for seed in (0, 0, 1))  # type: ignore[attr-defined]
    assert np.array_equal(first, again)
    if not REGRESSORS[name].seeded:
        assert np.array_equal(first, other)


def test_units_do_not_matter() -> None:
    """What is penalised or tolerated is in units of the targets' spread: meV and eV give the same model."""
    for name, entry in REGRESSORS.items():
        if entry.scaled:
            small, _ = search(name, H_BH[TRAIN], Y_B[TRAIN] / 1000, H_BH[VAL], Y_B[VAL] / 1000, 0)
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
