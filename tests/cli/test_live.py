"""The bar on a terminal: it moves with the work, and leaves the last line behind."""

from __future__ import annotations

import io
import logging

import pytest
from rich.console import Console

from xtlray.cli.live import TerminalHandler


@pytest.fixture
def shown() -> tuple[logging.Logger, io.StringIO]:
    text = io.StringIO()
    logger = logging.getLogger("a terminal")
    logger.handlers = [TerminalHandler(Console(file=text, force_terminal=True, width=100))]
    logger.setLevel(logging.INFO)
    logger.propagate = False
    return logger, text


def test_lines_without_a_share_are_printed(shown: tuple[logging.Logger, io.StringIO]) -> None:
    logger, text = shown
    logger.info("[not markup] 3 workers")
    assert text.getvalue() == "[not markup] 3 workers\n"


def test_the_bar_moves_and_the_last_line_stays(shown: tuple[logging.Logger, io.StringIO]) -> None:
    logger, text = shown
    logger.info("epoch 1/2", extra={"share": 0.5})
    logger.handlers[0]._progress.refresh()  # type: ignore[attr-defined]
    assert "50%" in text.getvalue()
    assert "epoch 1/2" in text.getvalue()
    logger.info("epoch 2/2", extra={"share": 1.0})
    assert text.getvalue().endswith("epoch 2/2\n")


def test_an_end_in_the_middle_gives_the_cursor_back(shown: tuple[logging.Logger, io.StringIO]) -> None:
    logger, text = shown
    logger.info("epoch 1/2", extra={"share": 0.5})
    logger.handlers[0].close()
    assert "\x1b[?25h" in text.getvalue()
