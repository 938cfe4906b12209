"""What a sweep makes of the errors that Tune reports; its trials are run in the tests of the pipeline."""

from __future__ import annotations

import pytest

from xtlray.errors import MissingKeyError, RequestError, StoreError, StoreGoneError, WorkError
from xtlray.transfer.sweep import is_of_the_store


@pytest.mark.parametrize(("kind", "expected"), [
    (StoreError, True),
    (StoreGoneError, True),  # or an outage would leave a record that the trial has failed, for good
    (MissingKeyError, True),
    (WorkError, False),
    (RequestError, False),
])  # fmt: skip
def test_a_failure_of_the_store_is_not_one_of_the_trial(kind: type[Exception], expected: bool) -> None:
    assert is_of_the_store(f"{kind.__module__}.{kind.__name__}: out of reach for 120 s") is expected


def test_a_process_that_died_is_not_the_stores_doing() -> None:
    assert not is_of_the_store("")
