"""Around Ray Train: where its own files lie, and that watching the epochs never gets in the way."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from xtlray import provenance
from xtlray.data.loader import Choice
from xtlray.errors import StoreGoneError, WorkError
from xtlray.pretrain import trainer
from xtlray.pretrain.rows import note_choice
from xtlray.pretrain.trainer import EpochWatch, LostWorkersError, _name, _own_error, _ray_files
from xtlray.store import Store

ATTEMPT = "runs/r/attempts/1"


@pytest.mark.parametrize("ended_by", [None, WorkError])
def test_on_one_machine_rays_files_do_not_lie_in_the_store(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ended_by: type[Exception] | None
) -> None:
    monkeypatch.setattr(provenance, "scratch", lambda: tmp_path / "scratch")
    monkeypatch.setattr("ray.nodes", lambda: [{"Alive": True}, {"Alive": False}])
    try:
        with _ray_files(store, ATTEMPT) as files:
            folder = Path(files["storage_path"])
            (folder / "train").mkdir()
            assert folder.parent == tmp_path / "scratch"
            if ended_by:
                raise ended_by("x")
    except WorkError:
        pass
    assert list((tmp_path / "scratch").iterdir()) == []
    assert store.list("") == []


def test_rays_dashboard_has_the_run_and_the_attempt() -> None:
    assert _name("runs/oqmd-1a2b3c4d/attempts/2") == "oqmd-1a2b3c4d-attempt-2"


def test_on_several_they_lie_where_all_reach_them(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.nodes", lambda: [{"Alive": True}, {"Alive": True}])
    with _ray_files(store, ATTEMPT) as files:
        assert files == {"storage_path": store.url_of(f"{ATTEMPT}/ray")}


class GoneStore:
    """A store that is out of reach, and takes `seconds` to say so."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds

    def exists(self, _: str) -> bool:
        time.sleep(self.seconds)
        raise StoreGoneError("gone")


def watch(store: Any) -> EpochWatch:
    return EpochWatch(store, ATTEMPT, lambda *_: None, every=0.01)


def test_a_store_that_is_gone_does_not_hide_how_training_ended() -> None:
    with watch(GoneStore()):
        time.sleep(0.05)
    with pytest.raises(WorkError, match="diverged"), watch(GoneStore()):
        raise WorkError("diverged")


def test_ctrl_c_does_not_wait_for_the_store() -> None:
    def interrupted() -> None:
        with watch(GoneStore(seconds=5)):
            time.sleep(0.05)
            raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert time.monotonic() - began < 2


def test_how_rows_are_held_is_said_once(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    said: list[str] = []
    handler = logging.Handler()
    monkeypatch.setattr(handler, "emit", lambda record: said.append(record.getMessage()))
    logger = logging.getLogger("xtlray.pretrain")
    monkeypatch.setattr(logger, "handlers", [handler])
    monkeypatch.setattr(logger, "propagate", False)
    caplog.set_level(logging.INFO, logger.name)
    with watch(store):
        time.sleep(0.05)
        assert said == []
        note_choice(store, ATTEMPT, Choice("streaming", "9 rows, 3 MB to load: so streaming"))
    assert said == ["loader: 9 rows, 3 MB to load: so streaming"]


class Losing:
    """In the place of Ray Train: each start loses its workers; before that it gets so many steps further."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, further: list[int]) -> None:
        self.names: list[str] = []
        self.step, self.further = 0, further
        monkeypatch.setattr(trainer, "_trainer", lambda worker, scale, files, name: self.names.append(name))
        monkeypatch.setattr(trainer, "_fit", self.fit)
        monkeypatch.setattr(trainer, "_newest_step", lambda store, run: self.step)

    def fit(self, _: Any) -> None:
        if not self.further:
            return
        self.step += self.further.pop(0)
        raise LostWorkersError("The training workers failed", got="a node has gone")


def start(store: Store) -> None:
    trainer._fit_while_it_gets_on(store, SimpleNamespace(run="runs/r", attempt=ATTEMPT), None, {})  # type: ignore[arg-type]


def test_workers_may_be_lost_as_often_as_training_gets_on(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    losing = Losing(monkeypatch, [8, 1, 16])
    start(store)
    assert losing.names == [
        "r-attempt-1",
        "r-attempt-1-2",
        "r-attempt-1-3",
        "r-attempt-1-4",
    ]  # a finished run's name would be its end


def test_workers_that_are_lost_without_progress_end_it(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    losing = Losing(monkeypatch, [8, 0, 16])
    with pytest.raises(LostWorkersError):
        start(store)
    assert losing.names == ["r-attempt-1", "r-attempt-1-2"]


def test_workers_that_are_lost_after_sigterm_end_it(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    losing = Losing(monkeypatch, [8, 8])
    monkeypatch.setattr(trainer, "terminated", lambda: True)
    with pytest.raises(LostWorkersError):
        start(store)
    assert losing.names == ["r-attempt-1"]


class GroupError(Exception):
    """As Ray Train's: what each worker that failed has met, by rank."""

    def __init__(self, worker_failures: dict[int, Exception]) -> None:
        super().__init__("some worker failed")
        self.worker_failures = worker_failures


def test_the_error_that_counts_is_ours_whichever_worker_met_it() -> None:
    ours = StoreGoneError("gone")
    outer = RuntimeError("training failed")
    outer.__cause__ = GroupError({0: RuntimeError("connection closed by peer"), 1: ours})
    assert _own_error(outer) is ours
    assert _own_error(GroupError({1: ours})) is ours
    assert _own_error(GroupError({0: RuntimeError("x")})) is None
