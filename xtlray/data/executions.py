"""Ray Data as it is used here: quiet, and with our own errors coming through as they are."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from numpy.typing import NDArray
from ray.data import DataContext, Dataset
from ray.util import log_once

from xtlray.errors import XtlrayError


def settle(context: DataContext) -> None:
    """Let an execution show and say nothing. Ray Data tells of each, and that its progress bars are off."""
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    log_once("ray_data_progress_manager_disabled")
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.raise_original_map_exception = True


def batches_of(dataset: Dataset, ahead: int = 1) -> Iterator[dict[str, NDArray[Any]]]:
    """Execute a Ray Dataset, block by block, `ahead` blocks ahead.

    Raises:
        XtlrayError: as it was raised in a task.
    """
    try:
        yield from dataset.iter_batches(batch_size=None, batch_format="numpy", prefetch_batches=ahead)
    except XtlrayError:
        raise
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, XtlrayError):
            cause = getattr(cause, "cause", None) or cause.__cause__
        if cause is None:
            raise
        raise cause from error
