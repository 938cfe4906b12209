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
from xtlray.nn.members import Head, NetMember
from xtlray.nn.nets import build_net, resolve_net
from xtlray.nn.packing import WEIGHTS, pack_members, unpack_members
from xtlray.nn.scaler import TargetScaler
from xtlray.nn.tensors import rounded, unpack_tensors
from xtlray.transfer.method import Config, Setting
from xtlray.transfer.methods import METHODS, get_method
from xtlray.transfer.netfit import layer_rates
from xtlray.transfer.regressors import REGRESSORS
from xtlray.transfer.settings import DEFAULT_METHODS, ENSEMBLE, METHOD_NAMES, Effort, TransferSettings


def setting(name: str, effort: Effort = "quick", rows: int = 24) -> Setting:
    return Setting(effort, rows, tiny.NET, (tiny.NET,) if METHODS[name].needs_source else ())


def short(config: Config) -> Config:
    return {**config, "epochs": 2} if "epochs" in config else config


def test_the_methods_of_the_settings_are_the_methods_there_are() -> None:
    assert (*METHODS, ENSEMBLE) == METHOD_NAMES
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
    sources = [tiny.net_member()] if method.needs_source else []
    config = short(method.search(setting(name))[0])
    fitted = method.fit(task, sources, config, 0)
    answers = fitted.member.predict(task.x_val_BX)
    assert answers.shape == (8,)
    assert np.isfinite(answers).all()
    assert json.loads(json.dumps(fitted.history)) == fitted.history

    records, files = pack_members([fitted.member])
    (again,) = unpack_members(records, files, 86, "here")
    assert np.array_equal(again.predict(task.x_val_BX), answers)


@pytest.mark.parametrize("name", METHODS)
def test_the_same_seed_gives_the_same_answers(name: str) -> None:
    method, task = METHODS[name], tiny.task(80)  # several batches an epoch, for their order to matter
    sources = [tiny.net_member()] if method.needs_source else []
    config = short(method.search(setting(name, rows=80))[-1])
    same, again, other = (method.fit(task, sources, config, seed).member.predict(task.x_val_BX) for seed in (0, 0, 1))
    assert np.array_equal(same, again)
    if "epochs" in config:
        assert not np.array_equal(same, other)


@pytest.mark.parametrize("name", METHODS)
def test_the_source_is_left_as_it_was(name: str) -> None:
    method, source = METHODS[name], tiny.net_member()
    before = {key: value.clone() for key, value in source.net.state_dict().items()}
    config = short(method.search(setting(name))[0])
    method.fit(tiny.task(), [source] if method.needs_source else [], config, 0)
    assert all((source.net.state_dict()[key] == value).all() for key, value in before.items())


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.needs_source])
def test_a_source_that_is_missing_is_asked_for(name: str) -> None:
    method = METHODS[name]
    with pytest.raises(RequestError, match=f"{name} needs a source model"):
        method.fit(tiny.task(), [], short(method.search(setting(name))[0]), 0)


def test_base_is_the_mean_of_the_training_targets() -> None:
    task = tiny.task()
    member = get_method("base").fit(task, [], {}, 0).member
    assert member.predict(task.x_val_BX).tolist() == [task.y_train_B.mean()] * 8


def test_features_of_a_linear_target_are_read() -> None:
    """The source's first layer holds what the target depends on: the ridge finds it, the mean does not."""
    task = tiny.task(300, 50)
    wide = {"name": "elemnet", "hidden": [256]}
    source = NetMember(wide, build_net(wide, 86, 1, seed=0).eval(), TargetScaler((0.0,), (1.0,)))
    fitted = get_method("tl-ml-featextr").fit(task, [source], {"layer": 1, "regressor": "ridge", "settings": {}}, 0)
    answers = fitted.member.predict(task.x_val_BX)
    assert np.abs(answers - task.y_val_B).mean() < 0.6 * np.abs(task.y_train_B.mean() - task.y_val_B).mean()
    assert len(fitted.history) == 15
    assert task.y_train_B.min() <= answers.min() <= answers.max() <= task.y_train_B.max()


def test_more_effort_boosts_longer_in_smaller_steps() -> None:
    found = []
    for effort in get_args(Effort):
        setting = Setting(effort, 5000, tiny.NET, regressors=("gradient_boosting",))
        found.append(get_method("sc-ml-pa").search(setting)[0]["settings"])
    trees = [settings["max_iter"] for settings in found]
    assert trees == sorted(set(trees))
    assert len({round(settings["max_iter"] * settings["learning_rate"], 9) for settings in found}) == 1


def test_trees_on_squares_come_first_where_most_targets_are_one_value() -> None:
    losses = []
    for one_value in (False, True):
        setting = Setting("quick", 5000, tiny.NET, regressors=("gradient_boosting",), mostly_one_value=one_value)
        (config,) = get_method("sc-ml-pa").search(setting)
        losses.append(config["settings"]["loss"])
    assert losses == ["absolute_error", "squared_error"]


@pytest.mark.parametrize("depth", [1, 2, 3, 16])
@pytest.mark.parametrize("name", ["tl-ml-featextr", "tl-dl-featextr"])
def test_layers_exist_and_more_effort_looks_at_more_of_them(name: str, depth: int) -> None:
    net = {"name": "elemnet", "hidden": [4] * depth}
    layers = {}
    for effort in get_args(Effort):
        configs = get_method(name).search(Setting(effort, 24, net, (net,), None, tuple(REGRESSORS)))
        layers[effort] = [config["layer"] for config in configs]
    for found in layers.values():
        assert set(found) <= set(range(1, depth + 1))
        assert len(set(found)) == min(depth, len(found))  # each before one comes again
    assert set(layers["quick"]) <= set(layers["full"])


@pytest.mark.parametrize("name", METHODS)
def test_the_held_out_rows_decide_nothing(name: str) -> None:
    """A net trains to its last epoch; a regressor's grid is searched inside the training rows."""
    pool, method = tiny.pool(), METHODS[name]
    other = replace(pool, y_B=np.where(pool.fold_B == 0, 1e4 - 50 * pool.y_B, pool.y_B))
    sources = [tiny.net_member()] if method.needs_source else []
    config = short(method.search(setting(name))[0])
    one, two = (method.fit(each.task(0), sources, config, 0).member.predict(pool.x_BX) for each in (pool, other))
    assert np.array_equal(one, two)


def test_two_sources_are_read_side_by_side() -> None:
    task, sources = tiny.task(), [tiny.net_member(1), tiny.net_member(2, outputs=2)]
    for name in ("tl-ml-mixed", "tl-dl-mixed"):
        config = short(get_method(name).search(setting(name))[0])
        fitted = get_method(name).fit(task, sources, config, 0)
        records, files = pack_members([fitted.member])
        assert sum(file.startswith("source-") for file in files) == 2
        (again,) = unpack_members(records, files, 86, "here")
        assert np.array_equal(again.predict(task.x_val_BX), fitted.member.predict(task.x_val_BX))


def test_trees_read_the_answers_alone() -> None:
    source, task = tiny.net_member(), tiny.task()
    kinds = {}
    for regressor in ("ridge", "extra_trees"):
        config = {"regressor": regressor, "settings": {}}
        member = get_method("tl-ml-mixed").fit(task, [source], config, 0).member
        kinds[regressor] = [block["kind"] for block in member.describe()["blocks"]]
    assert kinds == {
        "ridge": ["fractions", "attributes", "answers", "activations"],
        "extra_trees": ["fractions", "attributes", "answers"],
    }


# --- layers that stand still, or learn slowly ------------------------------------------------------------------------

FOUR = {"name": "elemnet", "hidden": [8, 8, 8]}
PLAIN = {"lr": 0.05, "batch": 8, "epochs": 2, "weight_decay": 0.1}


def moved(config: Config) -> list[float]:
    """How far the weights of each layer are from the source's."""
    source = NetMember(FOUR, build_net(FOUR, 86, 1, seed=0).eval(), TargetScaler((0.0,), (1.0,)))
    source.net.load_state_dict({name: rounded(value) for name, value in source.net.state_dict().items()})
    fitted = get_method("tl-finetune").fit(tiny.task(), [source], {**PLAIN, **config}, 0)
    assert isinstance(fitted.member, NetMember)
    assert all(parameter.requires_grad for parameter in fitted.member.net.parameters())
    pairs = zip(source.net.stages(), fitted.member.net.stages(), strict=True)
    return [max(float((a - b).detach().abs().max()) for a, b in zip(*stages, strict=True)) for stages in pairs]


@pytest.mark.parametrize(
    ("frozen", "learning"),
    [(0, [True] * 4), (1, [False, *[True] * 3]), (2, [False, False, True, True]), (9, [False, False, False, True])],
)
def test_frozen_layers_stand_still_and_the_last_one_always_learns(frozen: int, learning: list[bool]) -> None:
    assert [far > 0 for far in moved({"frozen": frozen})] == learning


def test_layers_near_the_input_learn_slower() -> None:
    plain, slower = moved({}), moved({"lr_decay": 0.2})
    assert [a < b for a, b in zip(slower[:3], plain[:3], strict=True)] == [True] * 3
    assert slower[0] < slower[1] < slower[2] < slower[3]


def test_the_rates_of_layers_by_hand() -> None:
    for spec in (FOUR, resolve_net({"name": "deepsets", "width": 8, "blocks": 2})):
        net = build_net(spec, 86, 1, seed=0)
        rates, last = layer_rates(net, 1, 0.5), len(net.stages()) - 1
        assert {id(parameter) for parameter in net.parameters()} == set(rates)
        for i, stage in enumerate(net.stages()):
            assert {rates[id(parameter)] for parameter in stage} == {0.5 ** (last - i)}
            assert {parameter.requires_grad for parameter in stage} == {i > 0}


@pytest.mark.parametrize("name", ["sc-dl-ef", "tl-finetune", "tl-modfinetune", "sc-dl-pa"])
def test_what_is_scored_is_what_16_bits_hold(name: str) -> None:
    method, task = METHODS[name], tiny.task()
    sources = [tiny.net_member()] if method.needs_source else []
    member = method.fit(task, sources, short(method.search(setting(name))[0]), 0).member
    records, files = pack_members([member])
    weights = unpack_tensors(files[WEIGHTS], "test")
    assert {value.dtype for key, value in weights.items() if "columns" not in key} == {torch.float16}
    (again,) = unpack_members(records, files, 86, "here")
    assert np.array_equal(again.predict(task.x_val_BX), member.predict(task.x_val_BX))


def test_a_net_on_warped_values_answers_in_the_unit_and_within_their_range() -> None:
    pool = tiny.pool()
    pool = replace(pool, y_B=np.exp(pool.y_B))
    task = pool.task(0)
    config = {**PLAIN, "net": tiny.NET, "warp": "log"}
    fitted = get_method("sc-dl-ef").fit(task, [], config, 0)
    answers = fitted.member.predict(task.x_val_BX)
    assert task.y_train_B.min() <= answers.min() <= answers.max() <= task.y_train_B.max()
    assert {"scaled_loss", "scaled_val"} <= set(fitted.history[0])
    assert {"loss", "val"}.isdisjoint(fitted.history[0])  # which would be in the unit


SEVERAL = replace(tiny.net_member(5, outputs=3), heads=tuple(Head(f"a/{p}", "eV") for p in "xyz"))
SEVERAL.net.load_state_dict({name: rounded(value) for name, value in SEVERAL.net.state_dict().items()})
STILL = {"lr": 0.0, "batch": 8, "epochs": 1, "weight_decay": 0.0}  # trains nothing: what comes out was carried over


@pytest.mark.parametrize(("head", "column"), [("a/x", 0), ("a/y", 1), ("a/z", 2), (None, 0)])
def test_the_row_of_the_head_is_carried_over(head: str | None, column: int) -> None:
    task, config = tiny.task(), STILL if head is None else {**STILL, "head": head}
    fitted = get_method("tl-finetune").fit(task, [SEVERAL], config, 0)
    assert isinstance(fitted.member, NetMember)
    x_BF = torch.from_numpy(task.x_val_BX[:, :86])
    with torch.inference_mode():
        scaled_BP = SEVERAL.net(x_BF)
        assert torch.allclose(fitted.member.net(x_BF), scaled_BP[:, [column]])
        assert not torch.allclose(scaled_BP[:, [column]], scaled_BP[:, [column - 1]], atol=1e-3)
    assert fitted.member.scaler == task.scaler()
    assert fitted.member.outputs == 1
    assert SEVERAL.net.last.out_features == 3  # the source is left as it was

    records, files = pack_members([fitted.member])
    (again,) = unpack_members(records, files, 86, "here")
    assert np.array_equal(again.predict(task.x_val_BX), fitted.member.predict(task.x_val_BX))


def test_the_head_that_is_carried_over_is_trained_too() -> None:
    fitted = get_method("tl-finetune").fit(tiny.task(), [SEVERAL], {**STILL, "lr": 1e-2, "epochs": 3, "head": "a/z"}, 0)
    assert isinstance(fitted.member, NetMember)
    before, after = SEVERAL.net.last.weight.detach()[[2]], fitted.member.net.last.weight.detach()
    assert after.shape == before.shape
    assert float((after - before).abs().max()) > 1e-3


def test_a_head_that_the_source_lacks_is_refused() -> None:
    with pytest.raises(RequestError, match=r"no head of the source model.*'a/w'.*a/x"):
        get_method("tl-finetune").fit(tiny.task(), [SEVERAL], {**STILL, "head": "a/w"}, 0)


def test_activations_of_a_net_of_several_properties_are_read() -> None:
    fitted = get_method("tl-ml-featextr").fit(
        tiny.task(), [SEVERAL], {"layer": 1, "regressor": "ridge", "settings": {}}, 0
    )
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
