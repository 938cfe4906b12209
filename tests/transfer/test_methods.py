"""The contract of a method, held by every entry."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch

from tests import tiny
from xtlray.errors import RequestError, UnknownNameError
from xtlray.nn.members import Head, NetMember, pack_members, unpack_members
from xtlray.nn.nets import build_net
from xtlray.nn.scaler import TargetScaler
from xtlray.transfer.method import Config, Setting
from xtlray.transfer.methods import METHODS, get_method
from xtlray.transfer.settings import DEFAULT_METHODS, METHOD_NAMES, Effort, TransferSettings


def setting(name: str, effort: Effort = "quick", rows: int = 24) -> Setting:
    return Setting(effort, rows, tiny.NET, tiny.NET if METHODS[name].needs_source else None)


def short(config: Config) -> Config:
    return {**config, "epochs": 2} if "epochs" in config else config


def test_the_methods_of_the_settings_are_the_methods_there_are() -> None:
    assert tuple(METHODS) == METHOD_NAMES
    assert set(DEFAULT_METHODS) < set(METHOD_NAMES)
    with pytest.raises(UnknownNameError, match="tl-finetune"):
        get_method("tl-fine-tune")


@pytest.mark.parametrize("effort", get_args(Effort))
@pytest.mark.parametrize("name", METHODS)
def test_the_search_is_plain_data_and_always_the_same(name: str, effort: Effort) -> None:
    for rows in (1, 24, 3000, 100_000):
        configs = METHODS[name].search(setting(name, effort, rows))
        assert configs
        assert json.loads(json.dumps(configs)) == configs
        assert configs == METHODS[name].search(setting(name, effort, rows))
        assert len({json.dumps(config, sort_keys=True) for config in configs}) == len(configs)


@pytest.mark.parametrize("name", METHODS)
def test_more_effort_tries_no_less(name: str) -> None:
    counts = [len(METHODS[name].search(setting(name, effort))) for effort in get_args(Effort)]
    assert counts == sorted(counts)


@pytest.mark.parametrize("name", METHODS)
def test_what_is_fitted_predicts_and_survives_packing(name: str) -> None:
    method, task = METHODS[name], tiny.task()
    source = tiny.net_member() if method.needs_source else None
    config = short(method.search(setting(name))[0])
    fitted = method.fit(task, source, config, 0)
    answers = fitted.member.predict(task.x_val_BX)
    assert answers.shape == (8,)
    assert np.isfinite(answers).all()
    assert json.loads(json.dumps(fitted.history)) == fitted.history

    records, files = pack_members([fitted.member])
    (again,) = unpack_members(records, files, 86, "here")
    assert np.array_equal(again.predict(task.x_val_BX), answers)


@pytest.mark.parametrize("name", METHODS)
def test_the_seed_changes_the_outcome_only_where_the_method_says_so(name: str) -> None:
    method, task = METHODS[name], tiny.task(80)  # several batches an epoch, for their order to matter
    source = tiny.net_member() if method.needs_source else None
    config = short(method.search(setting(name, rows=80))[-1])
    same, again, other = (method.fit(task, source, config, seed).member.predict(task.x_val_BX) for seed in (0, 0, 1))
    assert np.array_equal(same, again)
    assert np.array_equal(same, other) is not method.seeded


@pytest.mark.parametrize("name", METHODS)
def test_the_source_is_left_as_it_was(name: str) -> None:
    method, source = METHODS[name], tiny.net_member()
    before = {key: value.clone() for key, value in source.net.state_dict().items()}
    config = short(method.search(setting(name))[0])
    method.fit(tiny.task(), source if method.needs_source else None, config, 0)
    assert all((source.net.state_dict()[key] == value).all() for key, value in before.items())


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.needs_source])
def test_a_source_that_is_missing_is_asked_for(name: str) -> None:
    method = METHODS[name]
    with pytest.raises(RequestError, match=f"{name} needs a source model"):
        method.fit(tiny.task(), None, short(method.search(setting(name))[0]), 0)


def test_base_is_the_mean_of_the_training_targets() -> None:
    task = tiny.task()
    member = get_method("base").fit(task, None, {}, 0).member
    assert member.predict(task.x_val_BX).tolist() == [task.y_train_B.mean()] * 8


def test_features_of_a_linear_target_are_read() -> None:
    """The source's first layer holds what the target depends on: the ridge finds it, the mean does not."""
    task = tiny.task(300, 50)
    wide = {"name": "elemnet", "hidden": [256]}
    source = NetMember(wide, build_net(wide, 86, 1, seed=0).eval(), TargetScaler((0.0,), (1.0,)))
    fitted = get_method("tl-ml-featextr").fit(task, source, {"layer": 1, "regressor": "ridge"}, 0)
    error = np.abs(fitted.member.predict(task.x_val_BX) - task.y_val_B).mean()
    assert error < 0.6 * np.abs(task.y_train_B.mean() - task.y_val_B).mean()
    assert len(fitted.history) == 15
    assert error <= min(entry["val_mae"] for entry in fitted.history) + 1e-9  # kept within the training targets


@pytest.mark.parametrize("depth", [1, 2, 3, 16])
def test_layers_exist_and_more_effort_looks_at_all_of_them(depth: int) -> None:
    net = {"name": "elemnet", "hidden": [4] * depth}
    found = get_method("tl-ml-featextr").search(Setting("quick", 24, tiny.NET, net))
    layers = [config["layer"] for config in found]
    assert layers == sorted(set(layers))
    assert set(layers) <= set(range(1, depth + 1))
    full = get_method("tl-ml-featextr").search(Setting("full", 24, tiny.NET, net))
    assert [config["layer"] for config in full] == list(range(1, depth + 1))


def test_a_net_keeps_its_best_epoch_by_validation() -> None:
    task = tiny.task()
    fitted = get_method("sc-dl-ef").fit(
        task, None, {"net": tiny.NET, "lr": 0.05, "batch": 8, "epochs": 12, "weight_decay": 0.01}, 0
    )
    error = np.abs(fitted.member.predict(task.x_val_BX) - task.y_val_B).mean()
    assert error == pytest.approx(min(entry["val"] for entry in fitted.history), rel=0.02)  # bfloat16 in training


SEVERAL = replace(tiny.net_member(5, outputs=3), heads=tuple(Head(f"a/{p}", "eV") for p in "xyz"))
STILL = {"lr": 0.0, "batch": 8, "epochs": 1, "weight_decay": 0.0}  # trains nothing: what comes out was carried over


@pytest.mark.parametrize(("head", "column"), [("a/x", 0), ("a/y", 1), ("a/z", 2), (None, 0)])
def test_the_row_of_the_head_is_carried_over(head: str | None, column: int) -> None:
    task, config = tiny.task(), STILL if head is None else {**STILL, "head": head}
    fitted = get_method("tl-finetune").fit(task, SEVERAL, config, 0)
    assert isinstance(fitted.member, NetMember)
    x_BF = torch.from_numpy(task.x_val_BX[:, :86])
    with torch.inference_mode():
        scaled_BP = SEVERAL.net(x_BF)
        assert torch.allclose(fitted.member.net(x_BF), scaled_BP[:, [column]])
        assert not torch.allclose(scaled_BP[:, [column]], scaled_BP[:, [column - 1]], atol=1e-3)
    assert fitted.member.scaler == task.scaler
    assert fitted.member.outputs == 1
    assert SEVERAL.net.last.out_features == 3  # the source is left as it was

    records, files = pack_members([fitted.member])
    (again,) = unpack_members(records, files, 86, "here")
    assert np.array_equal(again.predict(task.x_val_BX), fitted.member.predict(task.x_val_BX))


def test_the_head_that_is_carried_over_is_trained_too() -> None:
    fitted = get_method("tl-finetune").fit(tiny.task(), SEVERAL, {**STILL, "lr": 1e-2, "epochs": 3, "head": "a/z"}, 0)
    assert isinstance(fitted.member, NetMember)
    before, after = SEVERAL.net.last.weight.detach()[[2]], fitted.member.net.last.weight.detach()
    assert after.shape == before.shape
    assert float((after - before).abs().max()) > 1e-3


def test_a_head_that_the_source_lacks_is_refused() -> None:
    with pytest.raises(RequestError, match=r"no head of the source model.*'a/w'.*a/x"):
        get_method("tl-finetune").fit(tiny.task(), SEVERAL, {**STILL, "head": "a/w"}, 0)


def test_activations_of_a_net_of_several_properties_are_read() -> None:
    fitted = get_method("tl-ml-featextr").fit(tiny.task(), SEVERAL, {"layer": 1, "regressor": "ridge"}, 0)
    assert fitted.member.outputs == 1
    assert fitted.member.predict(tiny.inputs(3)).shape == (3,)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"targets": []}, "targets"),
        ({"methods": []}, "methods"),
        ({"seeds": 0}, "seeds"),
        ({"effort": "huge"}, "effort.*quick"),
        ({"cpus_per_trial": 0}, "cpus_per_trial"),
        ({"gpus_per_trial": -1}, "gpus_per_trial"),
        ({"target": ["a/b"]}, "no key 'target'.*Allowed: targets"),
    ],
)
def test_impossible_settings_are_refused_by_name(changes: dict[str, object], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        TransferSettings.parse({"targets": "a/b", **changes}, "job.yaml")


def test_single_names_are_lists_and_shares_decide_nothing() -> None:
    found = TransferSettings.parse({"targets": "a/b", "source": "m", "methods": "base"}, "job.yaml")
    assert (found.targets, found.source, found.methods) == (("a/b",), ("m",), ("base",))
    faster = found.model_copy(update={"cpus_per_trial": 4.0, "gpus_per_trial": 0.5})
    assert faster.identity() == found.identity()
