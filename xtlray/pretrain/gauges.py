"""A pretraining as metrics that Ray exports to Prometheus: rows/s, loss and epoch, by run."""

from __future__ import annotations

from typing import Any

from ray.util.metrics import Gauge


class Gauges:
    """Set after each epoch by one worker of a run; Ray adds the prefix `ray_`."""

    def __init__(self, run: str) -> None:
        self.tags = {"run": run}
        self.rows = Gauge("xtlray_pretrain_rows_per_second", "Training rows a second, over all workers", ("run",))
        self.loss = Gauge("xtlray_pretrain_loss", "Training MAE of the epoch, first property, scaled", ("run",))
        self.val = Gauge("xtlray_pretrain_val", "Validation MAE of the epoch, first property, scaled", ("run",))
        self.epoch = Gauge("xtlray_pretrain_epoch", "Finished epochs", ("run",))

    def tell(self, entry: dict[str, Any]) -> None:
        """Publish an epoch's entry of the history."""
        self.rows.set(entry["rows"] / entry["seconds"], self.tags)
        self.epoch.set(entry["epoch"], self.tags)
        for gauge, key in ((self.loss, "loss"), (self.val, "val")):
            if entry[key] is not None:
                gauge.set(entry[key], self.tags)
