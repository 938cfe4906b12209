"""Progress on a terminal: a bar that stays at the bottom, for log records that say how far the work is."""

from __future__ import annotations

import logging

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn
from rich.text import Text


class TerminalHandler(logging.Handler):
    """Prints log records, and shows those with a `share` (0 … 1, of the work done) in a bar that they move.

    Piped output gets plain lines from a `logging.StreamHandler` instead.
    """

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console = console
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def emit(self, record: logging.LogRecord) -> None:
        text, share = self.format(record), getattr(record, "share", None)
        if share is None:
            self.console.print(Text(text), soft_wrap=True)
            return
        if self._progress is None:
            columns = (BarColumn(24), TaskProgressColumn(), TextColumn("{task.description}", markup=False))
            self._progress = Progress(*columns, console=self.console, transient=True)
            self._progress.start()
            self._task = self._progress.add_task("", total=1.0)
        assert self._task is not None
        self._progress.update(self._task, completed=share, description=record.getMessage())
        if share >= 1:
            self.close()
            self.console.print(Text(text), soft_wrap=True)

    def close(self) -> None:
        """Take the bar away; what comes next starts a new one."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
        super().close()
