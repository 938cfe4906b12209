"""From a job file to a run: what may stand in it, what `--set` changes, what decides the run's id."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests import tiny
from tests.leaderboard.runs import fill, names_of, rows_of
from xtlray.errors import RequestError, StoreGoneError, UnknownNameError, WorkError
from xtlray.kinds import KINDS, get_kind
from xtlray.kinds.kind import Context, Kind, Outcome, Resolved
from xtlray.kinds.runner import override, resolve_job, run_job
from xtlray.leaderboard.rows import RESULTS, TRIALS
from xtlray.nn.members import ConstantMember
from xtlray.runs import run_id
from xtlray.settings import Settings
from xtlray.store import Store

NET = {"name": "elemnet", "hidden": [8, 4]}
PIPELINE: dict[str, Any] = {
    "kind": "pipeline",
    "name": "demo",
    "pretrain": {"dataset": "demo/formation_enthalpy", "net": NET, "epochs": 2, "model": "demo-source"},
    "transfer": {"targets": ["demo/bulk_modulus"], "net": NET},
}


def resolved(store: Store, job: dict[str, Any], *changes: str) -> Resolved:
    return resolve_job(store, override(job, changes), "job.yaml", lambda text: None)


def identifier(store: Store, job: dict[str, Any], *changes: str) -> str:
    found = resolved(store, job, *changes)
    return run_id(found.name, found.identity)


# --- resolving -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("kind=", "the key 'kind' is missing.*pretrain, transfer, pipeline"),
        ("name=", "the key 'name' is missing"),
        ("kind=pipelin", "no kind of job of that name.*pipeline"),
        ("name=Demo", "name cannot be that.*'Demo'"),
        ("name=a/b", "name cannot be that"),
        ("pretran.epochs=2", "no key 'pretran'.*Allowed: pretrain"),
        ("pretrain.epoch=2", "no key 'pretrain.epoch'.*Allowed: epochs"),
        ("transfer.target=x", "no key 'transfer.target'.*Allowed: targets"),
        ("transfer.seed=2", "no key 'transfer.seed'.*Allowed: seeds"),
        ("epochs=2", "no key 'epochs'"),
        ("pretrain.epochs=0", "pretrain.epochs cannot be that"),
        ("pretrain.dataset=demo/formation_entalpy", "no dataset of that name.*demo/formation_enthalpy"),
        ("pretrain.dataset=[demo/molar_volume, demo/molar_volume]", "named twice.*demo/molar_volume"),
        ("pretrain.dataset=oqmd/band_gap", "xtlray data fetch"),
        ("pretrain.net=elmnet", "no net of that name.*elemnet"),
        ("pretrain.net={name: elemnet, hiden: [4]}", "hiden"),
        ("pretrain.model=builtin/x", "belong to the package"),
        ("transfer.targets=[demo/bulk_moduls]", "no dataset of that name.*demo/bulk_modulus"),
        ("transfer.targets=[jarvis/klu]", "known but not here.*xtlray data fetch 'jarvis/klu'"),
        ("transfer.methods=[tl-fintune]", "no method of that name.*tl-finetune"),
        ("transfer.source=nothing", "no model of that name"),
    ],
)
def test_what_a_job_may_not_say(store: Store, change: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        resolved(store, PIPELINE, change)
    assert store.list("runs") == []


def test_a_transfer_job_without_its_source_is_refused(store: Store) -> None:
    job = {"kind": "transfer", "name": "t", **PIPELINE["transfer"]}
    with pytest.raises(RequestError, match=r"needs a source.*tl-finetune, tl-modfinetune.*xtlray models list"):
        resolved(store, job)
    assert resolved(store, job, "methods=[base, sc-dl-ef]").inputs["sources"] == []


def test_a_source_without_a_net_is_refused_before_anything_starts(store: Store) -> None:
    tiny.model(store, "constant", members=[ConstantMember(1.0)])
    for job in (PIPELINE, {"kind": "transfer", "name": "t", **PIPELINE["transfer"]}):
        change = "transfer.source=constant" if job is PIPELINE else "source=constant"
        with pytest.raises(RequestError, match=r"no net to carry over.*constant@1"):
            resolved(store, job, change)


def test_patterns_are_expanded_sorted_and_each_named_once(store: Store) -> None:
    found = resolved(store, PIPELINE, "transfer.targets=[demo/m*, demo/bulk_modulus, demo/molar_volume]")
    assert found.settings.transfer.targets == (
        "demo/bulk_modulus",
        "demo/melting_temperature",
        "demo/mismatch_enthalpy",
        "demo/molar_volume",
    )
    assert found.identity["transfer"]["targets"] == list(found.settings.transfer.targets)


def test_a_pipelines_own_model_is_the_source_and_others_are_pinned(store: Store) -> None:
    assert resolved(store, PIPELINE).settings.transfer.source == ("demo-source",)
    ref = tiny.model(store, "other")
    both = resolved(store, PIPELINE, "transfer.source=[demo-source, other, other@1]")
    assert both.settings.transfer.source == ("demo-source", "other@1")
    assert both.identity["sources"] == {"other@1": ref.card_hash()}
    only = resolved(store, PIPELINE, "transfer.source=other@latest")
    assert only.settings.transfer.source == ("other@1",)
    assert only.inputs["own"] is False


def test_the_model_is_by_default_the_jobs(store: Store) -> None:
    job = {"kind": "pretrain", "name": "my-net", "dataset": "demo/molar_volume", "epochs": 1}
    assert resolved(store, job).settings.model == "my-net"
    assert resolved(store, job, "model=a/b").settings.model == "a/b"
    with pytest.raises(RequestError, match="A model's name"):
        resolved(store, job, "name='7'")


# --- ids -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        "pretrain.workers=2",
        "pretrain.workers=1-4",
        "pretrain.gpus=1",
        "pretrain.cpus_per_worker=2",
        "transfer.cpus_per_trial=2",
        "transfer.gpus_per_trial=0.25",
        "pretrain.epochs=2",  # what it is already
        "transfer.targets=demo/bulk_modulus",
        "transfer.source=demo-source",
        "pretrain.net.name=elemnet",
    ],
)
def test_what_does_not_decide_the_result_does_not_change_the_id(store: Store, change: str) -> None:
    assert identifier(store, PIPELINE, change) == identifier(store, PIPELINE)


@pytest.mark.parametrize(
    "change",
    [
        "name=other",
        "pretrain.epochs=3",
        "pretrain.seed=1",
        "pretrain.lr=0.1",
        "pretrain.batch=64",
        "pretrain.precision=float32",
        "pretrain.net.hidden=[8]",
        "pretrain.model=other",
        "pretrain.dataset=demo/molar_volume",
        "transfer.seeds=9",
        "transfer.effort=full",
        "transfer.methods=[base]",
        "transfer.targets=[demo/bulk_modulus, demo/molar_volume]",
    ],
)
def test_what_decides_the_result_changes_the_id(store: Store, change: str) -> None:
    assert identifier(store, PIPELINE, change) != identifier(store, PIPELINE)


def test_an_id_is_the_name_and_eight_hex_digits(store: Store) -> None:
    name, _, digits = identifier(store, PIPELINE).rpartition("-")
    assert name == "demo"
    assert len(digits) == 8
    int(digits, 16)


def test_other_rows_and_other_sources_are_another_run(store: Store) -> None:
    job = {"kind": "transfer", "name": "t", "targets": "user/gap", "source": "net"}
    tiny.dataset(store)
    data = tiny.dataset(store, "other/gap")
    tiny.model(store, "net", data=data)
    before = identifier(store, job)
    assert identifier(store, job, "source=net@1") == before
    tiny.model(store, "net", "run-00000002", data=data)  # @latest means another model now
    assert identifier(store, job) != before
    assert identifier(store, job, "source=net@1") == before
    tiny.dataset(store, formulas=(*tiny.FORMULAS, "LiO9"))
    assert identifier(store, job, "source=net@1") != before


# --- running ---------------------------------------------------------------------------------------------------------


class Told(Settings):
    answer: int = 1


@pytest.fixture
def kind(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A kind of job without Ray; the dictionary says how it goes."""
    how: dict[str, Any] = {"calls": 0, "always_new": False, "outcome": Outcome(models=["m@1"], extra={"figure": 7})}
    how["data"] = {}

    def execute(context: Context, job: Resolved) -> Outcome:
        how["calls"] += 1
        how["attempt"] = context.attempt.number
        if isinstance(how["outcome"], BaseException):
            raise how["outcome"]
        return how["outcome"]

    def resolve(store: Store, name: str, settings: Told, announce: Any) -> Resolved:
        return Resolved("told", name, settings, {"kind": "told", "name": name, **settings.identity(), **how["data"]})

    how["kind"] = lambda: Kind("told", "", Told, resolve, lambda store, job: {}, execute, how["always_new"])
    monkeypatch.setattr("xtlray.kinds.runner.get_kind", lambda name: how["kind"]())
    return how


JOB = {"kind": "told", "name": "told"}


def run(store: Store, again: bool = False) -> dict[str, Any]:
    return run_job(store, resolve_job(store, JOB, "job.yaml", print), again, print).as_json()


def test_a_run_that_is_done_is_not_run_again(store: Store, kind: dict[str, Any]) -> None:
    first = run(store)
    assert set(first) == {"run", "status", "attempt", "models", "seconds", "figure"}
    assert (first["status"], first["attempt"], first["models"], first["figure"]) == ("done", 1, ["m@1"], 7)
    assert run(store) == first
    assert kind["calls"] == 1
    again = run(store, again=True)
    assert again["run"] == f"{first['run']}-2"
    assert run(store)["run"] == again["run"]
    assert kind["calls"] == 2


def test_a_run_that_broke_is_tried_again(store: Store, kind: dict[str, Any]) -> None:
    good, kind["outcome"] = kind["outcome"], WorkError("it broke")
    with pytest.raises(WorkError, match="it broke"):
        run(store)
    (folder,) = {key.rsplit("/", 1)[0] for key in store.list("runs") if key.endswith("log.txt")}
    assert "ended by WorkError: it broke" in store.get(f"{folder}/log.txt").decode()
    kind["outcome"] = good
    assert (run(store)["attempt"], kind["calls"]) == (2, 2)
    environment = store.get_json(f"{folder}/environment.json")
    assert environment["resources"]["cores"] >= 1
    assert environment["started"]


def test_data_that_changed_since_an_unfinished_run_began_are_named(
    store: Store, kind: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    kind["data"] = {"data": {"user/gap": "abc", "user/klu": "abc"}}
    good, kind["outcome"] = kind["outcome"], WorkError("it broke")
    for _ in range(2):  # the second goes on, on the same data
        with pytest.raises(WorkError):
            run(store)
    before = store.children("runs")[0]
    assert "changed since" not in capsys.readouterr().out
    kind["data"], kind["outcome"] = {"data": {"user/gap": "def", "user/klu": "abc"}}, good
    after = run(store)
    assert (after["run"] != before, after["attempt"]) == (True, 1)
    told = capsys.readouterr().out
    assert f"user/gap changed since {before} began: that run stays unfinished, {after['run']} starts anew" in told


def test_a_store_that_is_gone_does_not_hide_what_ended_a_run(
    store: Store, kind: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: Any) -> None:
        raise StoreGoneError("gone")

    def execute(*_: Any) -> Outcome:
        for name in ("get", "exists", "create"):
            monkeypatch.setattr(Store, name, gone)
        raise WorkError("it broke")

    whole = kind["kind"]()
    kind["kind"] = lambda: replace(whole, execute=execute)
    with pytest.raises(WorkError, match="it broke"):
        run(store)


def test_a_run_without_some_of_its_models_has_failed(store: Store, kind: dict[str, Any]) -> None:
    kind["outcome"] = Outcome(failed=True, notes=["no model"])
    assert run(store)["status"] == "failed"
    assert run(store)["status"] == "failed"
    assert kind["calls"] == 1


def test_a_bench_always_starts_anew(store: Store, kind: dict[str, Any]) -> None:
    kind["always_new"] = True
    assert run(store)["run"] != run(store)["run"]


def test_what_a_complete_run_does_not_need_is_cleared_away(store: Store, kind: dict[str, Any]) -> None:
    name = run_id("told", {"kind": "told", "name": "told", "answer": 1})
    store.create(f"runs/{name}/members/abc-m0.skops", b"x")
    store.create(f"runs/{name}/trials/t.json", b"{}")
    store.create_json(f"runs/{name}/attempts/1/environment.json", {})
    store.create_json(f"runs/{name}/attempts/1/checkpoints/000000004/state.json", {})
    assert run(store)["attempt"] == 2
    left = store.list(f"runs/{name}")
    assert not [key for key in left if "/members/" in key or "/checkpoints/" in key]
    assert f"runs/{name}/trials/t.json" in left


def test_what_a_complete_run_has_found_is_in_the_tables(store: Store, kind: dict[str, Any]) -> None:
    name = run_id("told", {"kind": "told", "name": "told", "answer": 1})
    for _ in range(2):  # when it is done, and by a second start where a driver was killed right after its outcome
        fill(store, name)
        run(store)
        (result, other) = rows_of(store, RESULTS)
        assert (result["run"], result["finished"] is not None, other["method"]) == (name, True, "sc-dl-ef")
        assert names_of(store, TRIALS) == [(name, f"t{n}") for n in range(3)]
        store.delete(store.list("leaderboard"))
    assert kind["calls"] == 1


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_is_complete(name: str) -> None:
    found = get_kind(name)
    assert found.name == name
    assert found.summary
    assert issubclass(found.settings, Settings)
    assert found.always_new is (name == "bench")


def test_a_kind_that_is_not_known() -> None:
    with pytest.raises(UnknownNameError, match="pretrain"):
        get_kind("pretraining")
