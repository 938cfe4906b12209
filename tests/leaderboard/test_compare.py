"""Method against method: Holm by hand, verdicts where they are plain, and what counts once."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.leaderboard.test_fold import result
from xtlray.errors import RequestError, StoreError
from xtlray.leaderboard.compare import compare, holm, summary
from xtlray.leaderboard.predictions import read_predictions, rescore
from xtlray.records import ResultRecord
from xtlray.store import Store

RANDOM = np.random.default_rng(0)
TRUTH = RANDOM.normal(10, 3, 60)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


def predicted(
    store: Store, target: str, method: str, errors_B: Any, truth_B: Any = TRUTH, **changes: Any
) -> ResultRecord:
    """A result whose predictions are off by so much."""
    truth_B, errors_B = np.asarray(truth_B), np.asarray(errors_B)
    key = f"runs/run-00000001/predictions/{target.replace('/', '.')}-{method}.parquet"
    columns = {
        "formula": [f"Li{i + 1}O" for i in range(len(truth_B))],
        "value": truth_B,
        "predicted": truth_B + errors_B,
        "spread": np.zeros(len(truth_B)),
        "new": np.arange(len(truth_B)) % 2 == 0,
    }
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    store.create(key, buffer.getvalue())
    mae = float(np.abs(errors_B).mean())
    return result(target, method, mae, test_mae=mae, rows_test=len(truth_B), predictions=key, **changes)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, None, 0.9]) == [1.0, None, 1.0]
    assert holm([]) == []


def test_verdicts_where_they_are_plain(store: Store) -> None:
    noise = RANDOM.normal(size=60)
    results = [
        predicted(store, "a/better", "mine", 0.1 * noise),
        predicted(store, "a/better", "other", noise),
        predicted(store, "a/equal", "mine", noise, TRUTH + 1),
        predicted(store, "a/equal", "other", noise, TRUTH + 1),
        predicted(store, "a/even", "mine", noise, TRUTH + 2),
        predicted(store, "a/even", "other", 1.001 * noise[::-1], TRUTH + 2),
        predicted(store, "a/worse", "mine", noise + 3 * np.sign(noise), TRUTH + 3),
        predicted(store, "a/worse", "other", noise, TRUTH + 3),
        predicted(store, "b/twin", "mine", 0.1 * noise),  # the same rows and values as a/better
        predicted(store, "b/twin", "other", noise),
        predicted(store, "c/alone", "mine", noise, TRUTH + 4),
    ]
    found = compare(store, results, "mine", "other")
    same = "no significant difference"
    assert {each.target: each.verdict for each in found} == {
        "a/better": "better", "a/equal": same, "a/even": same, "a/worse": "worse", "b/twin": "better",
    }  # fmt: skip
    assert [each.counted for each in found] == [True, True, True, True, False]
    assert found[1].p is None
    assert found[2].p is not None
    assert found[2].p > 0.05
    counts = summary(found)
    assert (counts["targets"], counts["better"], counts["worse"]) == (4, 1, 1)
    assert counts["no_significant_difference"] == 2
    assert (counts["lower_mae"], counts["higher_mae"]) == (2, 1)
    back = compare(store, results, "other", "mine")
    assert [each.p for each in back] == [each.p for each in found]
    assert back[0].verdict == "worse"


def test_an_outlier_does_not_decide(store: Store) -> None:
    errors = np.full(60, 0.1) + 0.01 * RANDOM.random(60)
    lucky = errors.copy()
    lucky[0] = 1e6
    results = [predicted(store, "a/b", "mine", lucky), predicted(store, "a/b", "other", errors + 1)]
    (found,) = compare(store, results, "mine", "other")
    assert found.test_mae > found.against_mae
    assert found.verdict == "better"


def test_equal_errors_say_nothing(store: Store) -> None:
    """Two heads clipped to the same bound err alike on most rows; the others decide."""
    truth = RANDOM.normal(size=1038)
    mine, other = np.ones(1038), np.ones(1038)
    mine[:20] += 0.1 + 0.01 * RANDOM.random(20)  # a little worse on twenty
    other[20:38] += 1 + RANDOM.random(18)  # much better on eighteen
    results = [predicted(store, "a/b", "mine", mine, truth), predicted(store, "a/b", "other", other, truth)]
    (found,) = compare(store, results, "mine", "other")
    assert found.p is not None
    assert found.p < 0.05
    assert found.verdict == "better"


def test_a_copy_under_another_name_is_not_corrected_for(store: Store) -> None:
    noise = RANDOM.normal(size=60)
    pairs = [("mine", noise), ("other", noise + 0.5 * np.sign(noise) * (RANDOM.random(60) < 0.2))]
    (alone,) = compare(store, [predicted(store, "a/one", *pair) for pair in pairs], "mine", "other")
    both = [predicted(store, target, *pair) for target in ("b/one", "b/two") for pair in pairs]
    assert [each.p for each in compare(store, both, "mine", "other")] == [alone.p, alone.p]


def test_a_copy_is_corrected_as_its_original_is(store: Store) -> None:
    """Beside another target each p-value counts twice, that of a copy too."""
    noise = RANDOM.normal(size=60)
    pairs = [("mine", noise), ("other", noise + 0.5 * np.sign(noise) * (RANDOM.random(60) < 0.2))]
    (alone,) = compare(store, [predicted(store, "a/one", *pair) for pair in pairs], "mine", "other")
    rows = [predicted(store, target, *pair) for target in ("b/one", "b/two") for pair in pairs]
    rows += [
        predicted(store, "c/else", "mine", noise, TRUTH + 1),
        predicted(store, "c/else", "other", -noise[::-1], TRUTH + 1),
    ]
    first, copy, _ = compare(store, rows, "mine", "other")
    assert alone.p is not None
    assert (first.p, copy.p) == (pytest.approx(2 * alone.p), pytest.approx(2 * alone.p))
    assert (first.counted, copy.counted) == (True, False)


def test_results_without_predictions_or_of_other_rows_are_passed_over(store: Store) -> None:
    noise = RANDOM.normal(size=60)
    good = [predicted(store, "a/b", "mine", noise), predicted(store, "a/b", "other", 2 * noise)]
    old = good[0].model_copy(update={"predictions": None, "run": "run-00000000"})
    reread = predicted(store, "a/c", "mine", 0.1 * noise, TRUTH + 1).model_copy(
        update={"target": "a/b", "data_hash": "other", "val_mae": 0.0}
    )
    (found,) = compare(store, [old, reread, *good], "mine", "other")
    assert found.test_mae == pytest.approx(np.abs(noise).mean())


def test_of_several_sources_validation_chooses(store: Store) -> None:
    noise = RANDOM.normal(size=60)
    best = predicted(store, "a/b", "mine", 2 * noise).model_copy(update={"val_mae": 0.1, "source": "x@1"})
    other = predicted(store, "a/b", "mine-2", noise).model_copy(update={"method": "mine", "source": "y@1"})
    against = predicted(store, "a/b", "other", noise)
    (found,) = compare(store, [other, best, against], "mine", "other")
    assert found.test_mae == pytest.approx(np.abs(2 * noise).mean())
    assert (found.arm, found.against) == ("mine from x@1", "other")
    judged_on_more = other.model_copy(update={"rows_val": best.rows_val + 1})
    (found,) = compare(store, [judged_on_more, best, against], "mine", "other")
    assert found.arm == "mine from y@1"  # errors on fewer folds are of other rows


def test_methods_of_one_run_are_compared_before_those_of_two(store: Store) -> None:
    noise = RANDOM.normal(size=60)
    mine = predicted(store, "a/b", "mine", noise)
    other = predicted(store, "a/b", "other", 2 * noise)
    elsewhere = predicted(store, "a/b", "other-2", noise).model_copy(
        update={"method": "other", "run": "run-00000009", "rows_val": other.rows_val + 100}
    )
    (found,) = compare(store, [mine, other, elsewhere], "mine", "other")
    assert found.against_mae == pytest.approx(np.abs(2 * noise).mean())
    (found,) = compare(store, [mine, elsewhere], "mine", "other")  # better than nothing
    assert found.against_mae == pytest.approx(np.abs(noise).mean())


def test_other_test_rows_are_not_compared(store: Store) -> None:
    results = [predicted(store, "a/b", "mine", TRUTH), predicted(store, "a/b", "other", TRUTH, TRUTH + 1)]
    with pytest.raises(RequestError, match=r"(?s)same test rows.*mine and other.*Allowed: mine, other"):
        compare(store, results, "mine", "other")


def test_figures_are_those_of_the_predictions(store: Store) -> None:
    good = predicted(store, "a/b", "mine", TRUTH)
    row = rescore(store, good.model_copy(update={"test_mae_new_compositions": 1.0}))
    assert row["agrees"] is False
    whole = good.model_copy(
        update={name.removeprefix("rescored_"): row[name] for name in row if name.startswith("rescored_")}
    )
    assert rescore(store, whole)["agrees"] is True
    assert row["rescored_test_mae_new_compositions"] == pytest.approx(np.abs(TRUTH[::2]).mean())
    assert rescore(store, result(test_mae=None))["agrees"] is None


def test_predictions_that_are_missing_or_damaged_are_named(store: Store) -> None:
    kept = predicted(store, "a/b", "mine", TRUTH)
    gone = kept.model_copy(update={"predictions": "runs/x/predictions/gone.parquet"})
    with pytest.raises(StoreError, match=r"missing.*gone.parquet"):
        read_predictions(store, gone)
    store.create("runs/x/predictions/cut.parquet", b"PAR1")
    with pytest.raises(StoreError, match=r"damaged.*cut.parquet"):
        read_predictions(store, kept.model_copy(update={"predictions": "runs/x/predictions/cut.parquet"}))
