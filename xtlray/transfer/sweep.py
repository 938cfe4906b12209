"""Trials run by Ray Tune: one reused actor per slot, data through Ray's object store, once per node.

Tune decides where a trial runs and brings back what dies. What a trial found is in its record in our store; Tune's
own state is scratch.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import ray
from ray import tune
from ray.tune.execution import class_cache
from ray.tune.schedulers import FIFOScheduler

from xtlray import provenance
from xtlray.errors import RequestError, StoreError
from xtlray.nn.members import NetMember
from xtlray.records import TrialRecord
from xtlray.store import Store
from xtlray.termination import terminated
from xtlray.transfer.deaths import Deaths, Nodes, is_of_the_store, run_again_what_died
from xtlray.transfer.plan import TrialSpec
from xtlray.transfer.task import Pool
from xtlray.transfer.trial import Sweep, leave_record, read_record, run_trial

log = logging.getLogger("xtlray.transfer")
OnRecord = Callable[[TrialRecord, bool], None]  # a record, and whether it is new
OnRunning = Callable[[str, bool], None]  # a trial's id, and whether it begins or is at work no more
RunTrial = Callable[[Store, Sweep, TrialSpec, Pool, Mapping[str, NetMember]], TrialRecord]  # as `run_trial`


class TrialActor(tune.Trainable):
    """A process that runs one trial after the other; it imports torch once."""

    def setup(
        self,
        config: dict[str, Any],
        sweep: Sweep | None = None,
        specs: Mapping[str, TrialSpec] | None = None,
        tasks: Mapping[str, Pool] | None = None,
        sources: Mapping[str, NetMember] | None = None,
        threads: int = 1,
        gpu: bool = False,
        run: RunTrial = run_trial,
    ) -> None:
        if not gpu:  # on a machine with GPUs, a trial that has no share of one leaves them to others
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        import torch

        assert sweep is not None
        assert specs is not None
        assert tasks is not None
        assert sources is not None
        from xtlray.training.memory import keep_freed_memory

        torch.set_num_threads(threads)
        keep_freed_memory()
        self.sweep, self.specs, self.tasks, self.sources = sweep, specs, tasks, sources
        self.store, self.run_trial = Store(sweep.store), run
        self.spec = specs[config["trial"]]

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.spec = self.specs[new_config["trial"]]
        return True

    def step(self) -> dict[str, Any]:
        pool = self.tasks[self.spec.arm.target]
        record = self.run_trial(self.store, self.sweep, self.spec, pool, self.sources)
        return {"done": True, "status": record.status, "val_mae": record.val_mae}

    def __repr__(self) -> str:
        return f"trials of {self.sweep.run}"  # as Ray's dashboard and logs call the process

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        return {}  # a trial is one step: there is nothing between its start and its record

    def load_checkpoint(self, checkpoint: Any) -> None:
        return None


_interrupted = threading.Event()  # of the process: Tune copies its stopper


class _StopWhenInterrupted(tune.Stopper):
    """Ends the sweep after Ctrl-C or SIGTERM, should the KeyboardInterrupt be lost where Python ignores exceptions."""

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return _interrupted.is_set() or terminated()


@contextmanager
def _interrupts() -> Iterator[None]:
    """Ctrl-C inside is remembered, and always ends in a KeyboardInterrupt."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def note(number: int, frame: Any) -> None:
        _interrupted.set()
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, note)
    try:
        yield
        if _interrupted.is_set() or terminated():
            raise KeyboardInterrupt
    finally:
        _interrupted.clear()
        signal.signal(signal.SIGINT, before)


class _InOrder(FIFOScheduler):
    """The first trial that waits, but none whose own process is just starting.

    Tune's own would give that trial to the next process that becomes free, end the one that starts, and start another:
    where trials are shorter than a start, slots stay empty for ever. Nor does it look through all finished trials at
    each step, as that one does: the cost of a trial would grow with their number.
    """

    def __init__(self) -> None:
        super().__init__()
        self.unfinished: list[Any] = []

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        # One whose process died is added again, and waits behind the others: what killed it may be over by then.
        self.unfinished = [other for other in self.unfinished if other is not trial] + [trial]

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        controller = tune_controller._tune_controller  # what Tune passes warns of all that we ask it for
        self.unfinished = [trial for trial in self.unfinished if not trial.is_finished()]
        for trial in self.unfinished:
            if trial.status == "PENDING":
                process = controller._trial_to_actor.get(trial)
                if process is None or not controller._actor_manager.is_actor_started(process):
                    return trial
        return None


class _Watch(tune.Callback):
    """Tells of each trial that begins or ends, in the driver's process."""

    def __init__(self, store: Store, sweep: Sweep, on_record: OnRecord, on_running: OnRunning) -> None:
        self.store, self.sweep, self.on_record, self.on_running = store, sweep, on_record, on_running

    def __reduce__(self) -> tuple[Any, ...]:
        return tune.Callback, ()  # Tune keeps a copy in its files: whom we tell of trials lives in this process only

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.on_running(trial.config["trial"], True)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.on_running(trial.config["trial"], False)  # its process died; it begins again later

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.on_running(trial.config["trial"], False)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.on_running(trial.config["trial"], False)
        record = read_record(self.store, self.sweep, trial.config["trial"])
        if record:
            self.on_record(record, True)


def run_trials(
    store: Store,
    sweep: Sweep,
    specs: Iterable[TrialSpec],
    tasks: Mapping[str, Pool],
    sources: Mapping[str, NetMember],
    *,
    stage: str,
    share: tuple[float, float],
    session: Callable[[], AbstractContextManager[None]],
    on_record: OnRecord,
    on_running: OnRunning = lambda trial, is_running: None,
    run: RunTrial = run_trial,
) -> dict[str, TrialRecord]:
    """Run the trials that have no record yet; returns the records of all, by trial id.

    Args:
        store: where records are kept.
        sweep: what the trials share.
        specs: the trials.
        tasks: by target.
        sources: source nets by `name@version`.
        stage: a name for Ray's scratch folder.
        share: cores and share of a GPU of a trial.
        session: starts Ray; entered only if there is something to run.
        on_record: called in this process with each record.
        on_running: called in this process as trials begin and end.
        run: what a trial does, in a process of its own: it leaves the trial's record in the store.
    """
    specs = list(specs)
    known = {spec.id: record for spec in specs if (record := read_record(store, sweep, spec.id))}
    todo = [spec for spec in specs if spec.id not in known]
    for record in known.values():
        on_record(record, False)
    if known:
        log.info("%d of %d trials have their record already", len(known), len(specs))
    errors: dict[str, str] = {}
    deaths, watch = Deaths(), _Watch(store, sweep, on_record, on_running)
    if todo:

        def tune_trials(some: Sequence[TrialSpec], name: str, retries: int) -> dict[str, str]:
            return _tune(store, sweep, some, tasks, sources, name, share, watch, run, retries, deaths)

        with session():
            errors = run_again_what_died(todo, tune_trials, stage, deaths, Nodes(ray.nodes))
    for spec in todo:
        record = read_record(store, sweep, spec.id)
        if record is None:
            if is_of_the_store(errors.get(spec.id, "")):
                raise StoreError(
                    "The store failed a trial", got=f"{spec.id}: {errors[spec.id]}", fix="run the same job again"
                )
            died = {"status": "failed", "error": f"the trial's process died {deaths[spec.id]} times", "seconds": 0.0}
            record = leave_record(store, sweep, spec, tasks[spec.arm.target], died)
            on_record(record, True)
        known[spec.id] = record
    return known


def _tune(
    store: Store,
    sweep: Sweep,
    todo: Sequence[TrialSpec],
    tasks: Mapping[str, Pool],
    sources: Mapping[str, NetMember],
    stage: str,
    share: tuple[float, float],
    watch: tune.Callback,
    run: RunTrial,
    retries: int,
    deaths: Deaths,
) -> dict[str, str]:
    """Run the trials; returns the errors of those that Tune gave up, by trial id."""
    cpus, gpus = share
    _check_share(cpus, gpus, ray.cluster_resources())
    _keep_keys_at_home()
    needed = {spec.arm.target for spec in todo}
    actor = tune.with_parameters(
        TrialActor,
        sweep=sweep,
        specs={spec.id: spec for spec in todo},
        tasks={name: task for name, task in tasks.items() if name in needed},
        sources=dict(sources),
        threads=max(1, int(cpus)),
        gpu=gpus > 0,
        run=run,
    )
    actor = tune.with_resources(actor, {"cpu": cpus, "gpu": gpus})
    actor.__qualname__ = TrialActor.__name__  # as Ray calls the processes, which would be "ResourceTrainable"
    tuner = tune.Tuner(
        actor,
        param_space={"trial": tune.grid_search([spec.id for spec in todo])},
        tune_config=tune.TuneConfig(
            metric="val_mae",
            mode="min",
            reuse_actors=True,
            scheduler=_InOrder(),
            trial_name_creator=_name,
            trial_dirname_creator=_name,
        ),
        run_config=tune.RunConfig(
            name=stage,
            **store.for_ray(f"{sweep.folder}/attempts/{sweep.attempt}/ray"),
            failure_config=tune.FailureConfig(max_failures=retries),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # they would be empty
            callbacks=[watch, deaths],
            stop=_StopWhenInterrupted(),
            verbose=0,
        ),
    )
    with _interrupts():
        done = tuner.fit()
    return {result.config["trial"]: _last_line(result.error) for result in done if result.error and result.config}


def _keep_keys_at_home() -> None:
    """Tune hands the driver's keys of S3 on to its processes, in an environment that Ray logs and its dashboard shows.

    They have no need of them: a process has the environment of the Ray that it belongs to.
    """
    handed_on = class_cache.ENV_VARS_TO_PROPAGATE
    handed_on.difference_update([name for name in handed_on if name.startswith("AWS_")])


def _check_share(cpus: float, gpus: float, cluster: Mapping[str, float]) -> None:
    """Refuse a trial that fits on no cluster like this one, unless it grows: Tune would wait for ever."""
    cores, cards = cluster.get("CPU", 0), cluster.get("GPU", 0)
    if cpus > cores or gpus > cards:
        if provenance.cluster_grows():
            log.info("waiting for the cluster to grow: a trial takes %g cores and %g GPUs", cpus, gpus)
            return
        raise RequestError(
            "The cluster is too small for a trial",
            got=f"{cpus:g} cores and {gpus:g} GPUs on {cores:g} cores and {cards:g} GPUs",
            fix="ask for less, such as --set cpus_per_trial=1 and gpus_per_trial=0",
        )


def _last_line(error: BaseException) -> str:
    """What was raised, without the traceback that Ray puts before it."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__


def _name(trial: Any) -> str:
    return trial.config["trial"]
