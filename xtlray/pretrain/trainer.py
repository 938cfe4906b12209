"""One pretraining on Ray Train, from a fresh start or from the newest checkpoint, to the last epoch."""

from __future__ import annotations

import logging
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

import ray
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from xtlray import provenance, scratch
from xtlray.errors import MissingKeyError, RequestError, StoreError, WorkError
from xtlray.nn.nets import resolve_net
from xtlray.pretrain.checkpoints import Found, newest_checkpoint, open_checkpoint, whole_checkpoint
from xtlray.pretrain.notice import AskingFirst, Listening, ask_for_checkpoint
from xtlray.pretrain.rescue import bring_back
from xtlray.pretrain.rows import LOADER
from xtlray.pretrain.settings import PretrainSettings
from xtlray.pretrain.worker import WorkerConfig, train_worker
from xtlray.store import Store
from xtlray.termination import terminated
from xtlray.training.loop import Recipe

log = logging.getLogger("xtlray.pretrain")
# Seconds. After the loss of a node Ray asks for as many workers as before, and for fewer only once these have not come.
# Fewer are there at once, so an elastic training need not wait the minute that Ray gives machines to be started.
ELASTIC_PATIENCE = ("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "10")
MAX_FAILURES = 3  # worker groups lost and restarted, without a new checkpoint, before the run gives up


class LostWorkersError(WorkError):
    """The workers failed, each time they were started, of something that is none of our errors."""


@dataclass(frozen=True)
class Scale:
    """Workers and what each of them gets: derived from the job file and the cluster, and printed."""

    fewest: int
    most: int
    cpus: int
    gpus: int


def scale_of(settings: PretrainSettings, cluster: dict[str, float], largest: float | None = None) -> Scale:
    """What each worker gets on a cluster with these resources (`{"CPU": 2, "GPU": 0}`).

    A worker lives on one machine: where its share is not given, it is at most the cores of the `largest`, by default
    all of the cluster's.

    Raises:
        RequestError: the cluster cannot hold the fewest workers that the job asks for, and does not grow.
    """
    fewest, most = settings.worker_range
    cpus, gpus = int(cluster.get("CPU", 0)), int(cluster.get("GPU", 0))
    per_gpu = (1 if gpus >= most else 0) if settings.gpus == "auto" else settings.gpus
    share = cpus // most if largest is None else min(cpus // most, int(largest))
    per_cpu = settings.cpus_per_worker or max(1, share)
    if (fewest * per_cpu > cpus or fewest * per_gpu > gpus) and not provenance.cluster_grows():
        raise RequestError(
            "The cluster is too small for the workers",
            got=f"{fewest} workers of {per_cpu} cores and {per_gpu} GPUs each on {cpus} cores and {gpus} GPUs",
            fix="ask for fewer workers or smaller ones, such as --set workers=1",
        )
    return Scale(fewest, most, per_cpu, per_gpu)


def run_training(
    store: Store,
    run: str,
    attempt: str,
    settings: PretrainSettings,
    hashes: Mapping[str, str],
    on_epoch: Callable[..., None],
    on_start: Callable[[int], None] = lambda done: None,
) -> Found:
    """Train to the last epoch and return the last checkpoint.

    Args:
        store: where data are read and checkpoints are kept.
        run: the run's folder in the store; `attempt`: this attempt's.
        settings: the job.
        hashes: the version of each dataset, those whose test compositions are left out included.
        on_epoch: called in this process with each epoch's entry of the history and the scale of its errors.
        on_start: called first, with the epochs that earlier attempts have done.

    Raises:
        WorkError: the workers failed more often than they may, or training diverged.
    """
    bring_back(store, run, attempt)
    found = whole_checkpoint(store, run)
    if found and found.state.epoch >= settings.epochs:
        return found  # only what comes after training is left to do
    largest = max((node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]), default=0)
    scale = scale_of(settings, ray.cluster_resources(), largest)
    log.info("%s workers, each %d cores and %d GPUs", settings.workers, scale.cpus, scale.gpus)
    if scale.fewest < scale.most:
        os.environ.setdefault(*ELASTIC_PATIENCE)
    recipe = Recipe(
        settings.epochs, settings.batch, settings.lr, settings.seed, settings.weight_decay, settings.precision
    )
    worker = WorkerConfig(
        store.url,
        run,
        attempt,
        tuple((name, hashes[name]) for name in settings.dataset),
        resolve_net(settings.net),
        recipe,
        scale.cpus,
        settings.loader,
        tuple((name, hashes[name]) for name in settings.exclude_compositions_of),
    )
    done = found.state.epoch if found else 0
    on_start(done)
    if found:
        within = f", {found.state.row:,} rows into the next" if found.state.row else ""
        log.info("going on after epoch %d of %d%s", done, settings.epochs, within)
    with EpochWatch(store, attempt, on_epoch, told=done), _ray_files(store, attempt) as files:
        try:
            _fit_while_it_gets_on(store, worker, scale, files)
        except KeyboardInterrupt:
            if terminated():
                ask_for_checkpoint(store, attempt)
            raise
    last = whole_checkpoint(store, run)
    if last is None or last.state.epoch < settings.epochs:
        raise WorkError("Training ended before its last epoch", got=str(last and last.state.epoch), fix="run it again")
    return last


def _fit_while_it_gets_on(store: Store, worker: WorkerConfig, scale: Scale, files: Mapping[str, Any]) -> None:
    """Train. Workers may be lost any number of times, as on machines that are taken back: only not without progress.

    Ray counts what it restarts from the start of its own run, which a long training would exceed; so there is a new
    one where the old one has given up, and there is a newer checkpoint than when it began.
    """
    for n in count(1):
        before = _newest_step(store, worker.run)
        try:
            _fit(_trainer(worker, scale, files, _name(worker.attempt) + (f"-{n}" if n > 1 else "")))
            return
        except LostWorkersError as error:
            if terminated() or _newest_step(store, worker.run) <= before:
                raise
            log.warning("workers were lost %d times, but training got on: it goes on. %s", MAX_FAILURES + 1, error.got)


def _newest_step(store: Store, run: str) -> int:
    found = newest_checkpoint(store, run)
    return found.state.step if found else 0


def _trainer(worker: WorkerConfig, scale: Scale, files: Mapping[str, Any], name: str) -> TorchTrainer:
    return TorchTrainer(
        train_worker,
        train_loop_config={"worker": worker},
        scaling_config=ScalingConfig(
            num_workers=scale.fewest if scale.fewest == scale.most else (scale.fewest, scale.most),
            use_gpu=scale.gpus > 0,
            resources_per_worker={"CPU": scale.cpus, "GPU": scale.gpus},
        ),
        torch_config=TorchConfig(backend="nccl" if scale.gpus else "gloo"),
        run_config=RunConfig(
            name=name,
            **files,
            failure_config=FailureConfig(MAX_FAILURES),
            callbacks=[Listening(), AskingFirst(Store(worker.store), worker.attempt)],
        ),
    )


def _name(attempt: str) -> str:
    """What Ray's dashboard calls the training: `oqmd-1a2b3c4d-attempt-2` for the attempt in that folder."""
    return attempt.removeprefix("runs/").replace("/attempts/", "-attempt-").replace("/", "-")


@contextmanager
def _ray_files(store: Store, attempt: str) -> Iterator[dict[str, Any]]:
    """Where Ray Train keeps files of its own: written as it starts, for our reports carry no checkpoint; never read.

    It would not wait for a store that is out of reach, and make a folder that has vanished anew. So on one machine
    they lie in a folder there, which goes with the training. Several must all reach them: there it is the store.
    """
    if sum(bool(node["Alive"]) for node in ray.nodes()) > 1:
        yield store.for_ray(f"{attempt}/ray")
        return
    home = provenance.scratch()
    home.mkdir(parents=True, exist_ok=True)
    prefix = scratch.own_name("train", "-")
    with tempfile.TemporaryDirectory(prefix=prefix, dir=home, ignore_cleanup_errors=True) as folder:
        yield {"storage_path": folder}


def _fit(trainer: TorchTrainer) -> None:
    try:
        with _own_interrupts():
            error = trainer.fit().return_value
        if error is not None:
            raise error
    except WorkError:
        raise
    except Exception as error:
        cause = _own_error(error)
        if cause is not None:
            raise cause from error
        raise LostWorkersError(
            "The training workers failed",
            got=f"{type(error).__name__}: {str(error).strip().splitlines()[-1] if str(error).strip() else error!r}",
            fix="run the same job again: it goes on at the last checkpoint; -v shows the workers' own messages",
        ) from error


def _own_error(error: BaseException | None) -> WorkError | None:
    """The error of ours behind one of Ray's, whichever worker met it: the others' tell only that one has gone."""
    while error is not None and not isinstance(error, WorkError):
        failures = getattr(error, "worker_failures", {})
        ours = (_own_error(failures[rank]) for rank in sorted(failures))
        error = next((each for each in ours if each is not None), None) or error.__cause__
    return error


@contextmanager
def _own_interrupts() -> Iterator[None]:
    """Ctrl-C inside is a KeyboardInterrupt, as everywhere else.

    Ray Train answers it with a handler of its own that stops the workers and then exits with 0, and that it never
    takes back: a later Ctrl-C would end up there too.
    """
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as error:
        raise KeyboardInterrupt from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, before)


class EpochWatch:
    """Tells of each finished epoch, and first how rows are held, by watching the store: it knows wherever workers are.

    `told` epochs were finished, and told of, by earlier attempts; `every` is in seconds.
    """

    def __init__(
        self, store: Store, attempt: str, on_epoch: Callable[..., None], every: float = 1.0, told: int = 0
    ) -> None:
        self.store, self.folder, self.on_epoch, self.every, self.told = store, attempt, on_epoch, every, told
        self._loader_told = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> EpochWatch:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stop.set()
        if kind is not None and not issubclass(kind, Exception):
            return  # Ctrl-C is not to wait, perhaps for a store that is gone
        self._thread.join()
        self._tell()

    def _watch(self) -> None:
        while not self._stop.wait(self.every):
            self._tell()

    def _tell(self) -> None:
        try:
            self._tell_loader()
            self._tell_newest()
        except StoreError as error:  # the training itself is not ours to end, nor to hide what ended it
            log.debug("progress is not known: %s", error)

    def _tell_loader(self) -> None:
        if self._loader_told or not self.store.exists(f"{self.folder}/{LOADER}"):
            return
        self._loader_told = True
        log.info("loader: %s", self.store.get_json(f"{self.folder}/{LOADER}")["reason"])

    def _tell_newest(self) -> None:
        steps = self.store.children(f"{self.folder}/checkpoints")
        if not steps or not self.store.exists(f"{self.folder}/checkpoints/{steps[-1]}/state.json"):
            return
        try:
            found = open_checkpoint(self.store, f"{self.folder}/checkpoints/{steps[-1]}")
        except MissingKeyError:  # pruned meanwhile: there are newer ones
            return
        for entry in found.state.history:
            if entry["epoch"] > self.told:
                self.told = entry["epoch"]
                self.on_epoch(entry, found.scaler["scale"][0])
