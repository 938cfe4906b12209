"""The only module that wires the layers together: pretrain(), transfer(), load(), predict()."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xtlray import catalog, provenance
from xtlray.chem.fractions import ELEMNET_ELEMENTS, FractionEncoder
from xtlray.data.dataset import Dataset, open_dataset
from xtlray.data.inputs import InputEncoder
from xtlray.data.overlap import keys_tested_on, rows_among, trained_keys
from xtlray.errors import RequestError, StoreError
from xtlray.ray_session import RaySession
from xtlray.records import PROTOCOL, ModelCard, SplitMetrics, TrialRecord
from xtlray.registry.cards import WITHOUT, Making, card_maker
from xtlray.registry.promotion import move_best
from xtlray.registry.publishing import publish, published
from xtlray.registry.versions import ModelRef, resolve
from xtlray.runs import Attempt
from xtlray.store import Store, canonical_json

if TYPE_CHECKING:
    from xtlray.data.crew import RayCrew
    from xtlray.data.prediction_folder import Manifest
    from xtlray.pretrain.settings import PretrainSettings
    from xtlray.registry.model import Model
    from xtlray.transfer.campaign import Campaign, Outcome
    from xtlray.transfer.curve import CurveSettings
    from xtlray.transfer.plan import Arm
    from xtlray.transfer.scoring import Reference, Source
    from xtlray.transfer.settings import TransferSettings

log = logging.getLogger("xtlray.pipeline")
ENCODER = FractionEncoder(ELEMNET_ELEMENTS)
Say = Callable[[str], None]
LARGE_MB = 100  # of a model's files, beyond which its publication is warned about


# --- using a model ---------------------------------------------------------------------------------------------------


def load(model: str, store: Store | str | None = None) -> Model:
    """A published model, ready to predict.

    Args:
        model: `name`, `name@3` or `name@alias`; without a suffix the latest version.
        store: the library, a URL or a folder; by default `$XTLRAY_STORE`, else `./xtlray-store`.

    Raises:
        RequestError: there is no such model.
        StoreError: a file of it is missing or altered.
    """
    from xtlray.registry.model import load_model

    home = store if isinstance(store, Store) else Store.open(store)
    return load_model(resolve(home, model, announce=log.info))


def predict(
    store: Store, model: str, wanted: str | None, inputs: Sequence[str], output: str, session: Callable[[], Any]
) -> Manifest:
    """Predict for tables of any size; see `xtlray.registry.at_scale.predict_folder`, which takes the same."""
    from xtlray.registry.at_scale import predict_folder

    @contextmanager
    def crew() -> Iterator[RayCrew]:
        with session():
            from xtlray.data.crew import RayCrew

            yield RayCrew()

    return predict_folder(store, model, wanted, inputs, output, crew)


# --- pretraining -----------------------------------------------------------------------------------------------------


def pretrain(
    store: Store,
    attempt: Attempt,
    settings: PretrainSettings,
    model: str,
    hashes: Mapping[str, str],
    session: RaySession,
    say: Say,
) -> ModelRef:
    """Pretrain a source model and publish it; what an earlier attempt has done is not done again.

    Args:
        store: where everything lies.
        attempt: this start of the run.
        settings: the job.
        model: the name to publish it as.
        hashes: data hash of each dataset, those whose test compositions are left out included.
        session: starts Ray if it is needed.
        say: told of progress.

    Raises:
        WorkError: training failed or diverged.
    """
    from xtlray.nn.packing import pack_members
    from xtlray.pretrain.result import load_result_net, read_result, result_key, score

    run = attempt.run
    done = published(store, run.id, model)
    if done:
        say(f"{done} is published already")
        return done
    datasets = [open_dataset(store, name, hashes[name]) for name in settings.dataset]
    exclude = [open_dataset(store, name, hashes[name]) for name in settings.exclude_compositions_of]
    excluded = keys_tested_on(exclude)
    result = read_result(store, run.folder, model)
    if result is None:
        if exclude:
            _say_left_out(datasets, exclude, excluded, say)
        last = _train(store, attempt, settings, hashes, datasets, session)
        attempt.progress.begin("scoring")
        result = score(store, last, settings.net, datasets, ENCODER, excluded)
        store.create_json(result_key(run.folder, model), result.as_json())
        result = read_result(store, run.folder, model) or result  # another driver's, if it was faster
    for name, counts in result.skipped.items():
        for split, count in counts.items():
            if count:
                say(f"{count} {split} rows of {name} hold an element that the net's input cannot hold: not scored")
    _plot_history(store, attempt, result.history, datasets)
    members, files = pack_members([load_result_net(store, result, len(ENCODER.elements))])
    scored = [(dataset, result.metrics[dataset.card.name]) for dataset in datasets]
    making = Making(model, run, scored, ENCODER, members, "pretrain", result.history, exclude=exclude, files=files)
    ref = publish(store, run.id, model, None, files, card_maker(making))
    first, metrics = scored[0]
    if "val" in metrics and metrics["val"].mae is not None:
        move_best(store, ref, metrics["val"].mae, _validated_on(first, exclude), PROTOCOL)
    for dataset, by_split in scored:
        errors = ", ".join(f"{split} MAE {m.mae:.4g}" for split, m in by_split.items() if m.mae is not None)
        say(f"published {ref}: {dataset.card.name} {errors} {dataset.card.unit or ''}".rstrip())
    return ref


def _say_left_out(datasets: Sequence[Dataset], exclude: Sequence[Dataset], excluded: Set[bytes], say: Say) -> None:
    """How many rows of each dataset the exclusion costs."""
    for dataset in datasets:
        train, val = (rows_among(dataset, split, excluded) for split in ("train", "val"))
        who = exclude[0].card.name if len(exclude) == 1 else f"one of {len(exclude)} datasets"
        say(f"left out of {dataset.card.name}: {train} training and {val} validation rows that {who} tests on")


def _validated_on(dataset: Dataset, exclude: Sequence[Dataset]) -> str:
    """The split whose validation errors may be compared: without the rows left out it is another one."""
    others = sorted(each.card.data_hash for each in exclude)
    return dataset.card.split_id + f" without {hashlib.sha256(canonical_json(others)).hexdigest()[:8]}" * bool(others)


def _plot_history(
    store: Store, attempt: Attempt, history: Sequence[dict[str, Any]], datasets: Sequence[Dataset]
) -> None:
    from xtlray.report.history import history_plot

    picture = history_plot(history, [(dataset.card.label, dataset.card.unit) for dataset in datasets])
    if picture:
        store.create(f"{attempt.folder}/history.svg", picture.encode())


def _train(
    store: Store,
    attempt: Attempt,
    settings: PretrainSettings,
    hashes: Mapping[str, str],
    datasets: Sequence[Dataset],
    session: RaySession,
) -> Any:
    from xtlray.pretrain.progress import epoch_line
    from xtlray.pretrain.trainer import run_training

    def on_epoch(entry: dict[str, Any], scale: float) -> None:
        line = epoch_line(entry, settings.epochs, scale, datasets[0].card.unit or "")
        log.info("%s", line, extra={"share": entry["epoch"] / settings.epochs})
        left = (settings.epochs - entry["epoch"]) * entry["seconds"]
        rate = entry["rows"] / entry["seconds"]
        attempt.progress.tell(done=entry["epoch"], left_s=left, rows_per_s=rate)

    def on_start(done: int) -> None:
        attempt.progress.begin("pretraining", "epochs", settings.epochs, done)

    with session():
        return run_training(store, attempt.run.folder, attempt.folder, settings, hashes, on_epoch, on_start)


# --- transfer --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TransferOutcome:
    """What a transfer run came to: models by target, failed trials, targets without a model and why."""

    models: dict[str, ModelRef]
    failures: list[TrialRecord]
    without_model: dict[str, str]


def transfer(
    store: Store,
    attempt: Attempt,
    settings: TransferSettings,
    hashes: Mapping[str, str],
    sources: Sequence[ModelRef],
    session: RaySession,
    say: Say,
) -> TransferOutcome:
    """Run the sweep of a transfer job, choose by validation, score once, publish the best of each target.

    Args:
        store: where everything lies.
        attempt: this start of the run.
        settings: the job.
        hashes: target → data hash, patterns expanded.
        sources: the models to carry over.
        session: starts Ray if it is needed.
        say: told of progress.
    """
    from xtlray.transfer.campaign import run_campaign

    campaign = _campaign(store, attempt, settings, hashes, sources)
    outcome = run_campaign(store, campaign, session, say)
    cards = {str(ref): ref.card() for ref in sources}
    models, without = {}, dict(outcome.refused)
    for target in hashes:
        arm = outcome.best(target)
        if arm is None:
            without.setdefault(target, "every trial failed")
            continue
        models[target] = _publish_best(store, attempt, campaign, arm, outcome, cards)
    write_report(store, attempt)
    return TransferOutcome(models, outcome.failures, without)


def _campaign(
    store: Store,
    attempt: Attempt,
    settings: TransferSettings,
    hashes: Mapping[str, str],
    sources: Sequence[ModelRef],
) -> Campaign:
    from xtlray.registry.model import load_model, source_net
    from xtlray.transfer.campaign import Campaign
    from xtlray.transfer.methods import needs_attributes
    from xtlray.transfer.trial import Sweep

    return Campaign(
        sweep=Sweep(store.url, attempt.run.id, attempt.number, provenance.commit(), provenance.versions()),
        settings=settings,
        datasets={name: open_dataset(store, name, data_hash) for name, data_hash in hashes.items()},
        nets={str(ref): source_net(load_model(ref)) for ref in sources},
        references={name: _reference(name) for name in hashes},
        encoder=InputEncoder(ENCODER, needs_attributes(settings.trial_methods), store, provenance.cores()),
        sources={str(ref): _source(store, ref) for ref in sources},
        progress=attempt.progress,
    )


def learning_curve(
    store: Store,
    attempt: Attempt,
    settings: CurveSettings,
    hashes: Mapping[str, str],
    sources: Sequence[ModelRef],
    session: RaySession,
    say: Say,
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Error against training rows, as points and as a picture in the attempt's folder.

    Returns:
        The points (see `xtlray.transfer.curve.run_curve`), and where `curve_file` and `plot_file` lie.
    """
    from xtlray.report.curve import curve_plot
    from xtlray.transfer.curve import run_curve

    campaign = _campaign(store, attempt, settings, hashes, sources)
    points = run_curve(store, campaign, settings, session, say)
    files = {"curve_file": f"{attempt.folder}/curve.json"}
    store.create_json(files["curve_file"], {"points": points})
    picture = curve_plot(points)
    if picture:
        files["plot_file"] = f"{attempt.folder}/curve.svg"
        store.create(files["plot_file"], picture.encode())
    return points, {name: store.url_of(key) for name, key in files.items()}


def write_report(store: Store, attempt: Attempt) -> str:
    """Write the page of a run that has its results; returns where it lies."""
    from xtlray.leaderboard.fold import rank, read_results
    from xtlray.leaderboard.published import against_published
    from xtlray.report.page import report_page

    run = attempt.run
    results = rank(read_results(store, [run.id]))
    facts = {
        "commit": provenance.commit() or "not known",
        "hardware": provenance.hardware(),
        "versions": ", ".join(f"{name} {version}" for name, version in provenance.versions().items()),
    }
    job = store.get(f"{run.folder}/job.yaml").decode()
    key = f"reports/{run.id}/index.html"
    beside = against_published(store, results)["by_target"]
    store.create(key, report_page(run.id, results, facts, job, beside).encode())
    return store.url_of(key)


def _publish_best(
    store: Store, attempt: Attempt, campaign: Campaign, arm: Arm, outcome: Outcome, cards: Mapping[str, ModelCard]
) -> ModelRef:
    from xtlray.transfer.scoring import pack_model

    result, run, mixture = outcome.results[arm], attempt.run, outcome.mixtures[arm]
    ref = published(store, run.id, arm.target)
    if ref is None:
        members, files = pack_model(store, mixture)
        metrics = {
            "val": SplitMetrics(rows=result.rows_val, mae=result.val_mae),
            "test": SplitMetrics(
                rows=result.rows_test,
                mae=result.test_mae,
                rmse=result.test_rmse,
                r2=result.test_r2,
                mae_spread=result.test_mae_spread,
            ),
        }
        making = Making(
            arm.target,
            run,
            [(campaign.datasets[arm.target], {split: m for split, m in metrics.items() if m.rows})],
            ENCODER,
            members,
            arm.method,
            [{"seed": r.seed, "fold": r.fold, "trial": r.trial, "epochs": r.history} for r in mixture.records],
            [cards[name] for name in (result.source.split("+") if result.source else ())],
            mixture.interval.as_json() if mixture.interval else None,
            folded=True,
            files=files,
        )
        size = sum(map(len, files.values())) / 1e6
        if size > LARGE_MB:
            log.warning("%s is large: %.0f MB; a job without regressors of trees makes a smaller one", arm.target, size)
        ref = publish(store, run.id, arm.target, f"{arm.slug}.json", files, card_maker(making))
    assert result.val_mae is not None, "what is published has a validation error"
    folds = sorted({record.fold for record in mixture.records})
    move_best(store, ref, result.val_mae, f"{result.split_id} folds {folds}", result.protocol)
    return ref


def _source(store: Store, ref: ModelRef) -> Source:
    """What scoring wants to know of a source model; of one that was carried over itself, all that it has seen."""
    from xtlray.transfer.scoring import Source

    card = ref.card()
    seen: set[bytes] = set()
    steps = {
        (each["dataset"], each["data_hash"], tuple(each.get(WITHOUT, {}).items()))
        for each in card.lineage
        if "dataset" in each
    }
    try:
        excluded = {
            pairs: keys_tested_on(open_dataset(store, *pair) for pair in pairs) for pairs in {step[2] for step in steps}
        }
        for name, data_hash, pairs in steps:
            seen |= trained_keys(open_dataset(store, name, data_hash)) - excluded[pairs]
    except (RequestError, StoreError) as error:
        log.info("what %s was trained on is not here, so not compared with test rows: %s", ref, error)
        return Source(ref.card_hash(), None)
    return Source(ref.card_hash(), frozenset(seen))


def _reference(target: str) -> Reference:
    from xtlray.transfer.scoring import Reference

    info = catalog.datasets().get(target)
    known = info.reference if info else None
    return Reference(known.best_transfer, known.best_scratch) if known else Reference(None, None)
