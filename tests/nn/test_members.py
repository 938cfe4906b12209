"""Members to files and back: the same predictions, and nothing that is damaged, strange or left over gets in."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import skops.io
import torch
from sklearn.base import BaseEstimator
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from tests import tiny
from xtlray.errors import RequestError, StoreError
from xtlray.nn.features import Block, Features
from xtlray.nn.heads import pack_head, unpack_head
from xtlray.nn.members import ConstantMember, FeatureNetMember, HeadMember, LiveMember, NetMember, ensemble
from xtlray.nn.nets import build_net
from xtlray.nn.packing import WEIGHTS, pack_members, unpack_members
from xtlray.nn.scaler import TargetScaler
from xtlray.nn.tensors import pack_tensors, rounded, unpack_tensors, with_prefix
from xtlray.records import FeatureBlock, Member


class Strange(BaseEstimator):
    """An estimator that is not scikit-learn's."""

    def fit(self, x: Any, y: Any) -> Strange:
        return self

    def predict(self, x: Any) -> np.ndarray:
        raise AssertionError("code of a refused type has run")


def activations(body: NetMember, layer: int = 1) -> Features:
    return Features((Block("activations", layer),), (body,), 86)


def head_member() -> HeadMember:
    body = tiny.net_member(3)
    h_BH = body.features(tiny.inputs(30), 1)
    head = make_pipeline(StandardScaler(), Ridge(alpha=0.1)).fit(h_BH, np.arange(30.0))
    return HeadMember(activations(body), head)


def three() -> list[LiveMember]:
    return [tiny.net_member(1), head_member(), ConstantMember(2.5)]


def test_packed_and_unpacked_they_predict_the_same_to_the_bit() -> None:
    members, x_BF = three(), tiny.inputs(11)
    records, files = pack_members(members)
    (source,) = members[1].sources
    assert set(files) == {WEIGHTS, "m1.skops", source.as_source[0]}
    assert [record.kind for record in records] == ["net", "head", "constant"]
    read = [Member.model_validate_json(record.model_dump_json()) for record in records]
    again = unpack_members(read, files, 86, "here")
    for before, after in zip(members, again, strict=True):
        assert after.predict(x_BF).dtype == np.float64
        assert np.array_equal(before.predict(x_BF), after.predict(x_BF))


def test_packing_what_was_unpacked_gives_the_same_bytes() -> None:
    records, files = pack_members(three())
    assert pack_members(unpack_members(records, files, 86, "here")) == (records, files)


def test_answers_are_in_physical_units_whatever_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    member, x_BF = tiny.net_member(mean=100.0, scale=0.5), tiny.inputs(7)
    with torch.inference_mode():
        scaled = member.net(torch.from_numpy(x_BF)).numpy()[:, 0].astype(np.float64)
    assert member.predict(x_BF) == pytest.approx(100 + 0.5 * scaled, abs=1e-6)
    whole = member.predict(x_BF)
    monkeypatch.setattr("xtlray.nn.members._ROWS_AT_ONCE", 3)
    assert member.predict(x_BF) == pytest.approx(whole, abs=1e-6)
    assert member.predict(x_BF[:0]).shape == (0,)


def test_an_ensemble_by_hand() -> None:
    mean_B, spread_B, each_KB = ensemble([ConstantMember(1.0), ConstantMember(4.0)], tiny.inputs(3))
    assert mean_B.tolist() == [2.5] * 3
    assert spread_B.tolist() == [1.5] * 3
    assert each_KB.tolist() == [[1.0] * 3, [4.0] * 3]


def test_an_ensemble_answers_for_one_of_several_properties() -> None:
    members, x_BF = [tiny.net_member(seed, outputs=3) for seed in (1, 2)], tiny.inputs(4)
    all_KBP = np.stack([member.predict_all(x_BF) for member in members])
    assert all_KBP.shape == (2, 4, 3)
    for column in range(3):
        mean_B, spread_B, each_KB = ensemble(members, x_BF, column)
        assert np.array_equal(each_KB, all_KBP[:, :, column])
        assert mean_B == pytest.approx(all_KBP[:, :, column].mean(axis=0))
        assert spread_B == pytest.approx(all_KBP[:, :, column].std(axis=0))


def test_heads_on_a_net_of_several_properties_answer_for_one() -> None:
    body = tiny.net_member(3, outputs=2)
    head = HeadMember(activations(body), Ridge().fit(body.features(tiny.inputs(20), 1), np.arange(20.0)))
    x_BF = tiny.inputs(4)
    members: list[LiveMember] = [head, tiny.net_member(4, outputs=2), ConstantMember(2.0)]
    again = unpack_members(*pack_members(members), 86, "here")
    assert [member.outputs for member in again] == [1, 2, 1]
    assert [member.predict_all(x_BF).shape for member in again] == [(4, 1), (4, 2), (4, 1)]
    for before, after in zip(members, again, strict=True):
        assert np.array_equal(before.predict_all(x_BF), after.predict_all(x_BF))
        assert np.array_equal(after.predict(x_BF), after.predict_all(x_BF)[:, 0])


def changed(files: dict[str, bytes], change: Callable[[dict[str, torch.Tensor]], None]) -> dict[str, bytes]:
    tensors = unpack_tensors(files[WEIGHTS], "test")
    change(tensors)
    return {**files, WEIGHTS: pack_tensors(tensors)}


def add(name: str, value: torch.Tensor) -> Callable[[dict[str, torch.Tensor]], None]:
    return lambda tensors: tensors.update({name: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("m0.output.bias"), "do not fit.*output.bias"),
        (add("m0.output.bias", torch.zeros(2)), "do not fit.*output.bias"),
        (add("m0.extra", torch.zeros(2)), "do not fit.*extra"),
        (add("m7.extra", torch.zeros(2)), "tensors of no member.*m7.extra"),
        (add("m0", torch.zeros(2)), "tensors of no member"),
        (lambda t: t.clear(), "do not fit"),
    ],
)
def test_weights_that_do_not_fit_are_refused(change: Any, message: str) -> None:
    records, files = pack_members(three())
    with pytest.raises(StoreError, match=message):
        unpack_members(records, changed(files, change), 86, "here")


@pytest.mark.parametrize("kept", [0, 7, 100, -1])
def test_cut_short_weights_are_refused(kept: int) -> None:
    records, files = pack_members([tiny.net_member()])
    with pytest.raises(StoreError, match="damaged or cut short"):
        unpack_members(records, {WEIGHTS: files[WEIGHTS][:kept]}, 86, "here")


def test_another_width_of_the_input_is_refused() -> None:
    records, files = pack_members([tiny.net_member()])
    with pytest.raises(StoreError, match=r"do not fit.*hidden.0.weight"):
        unpack_members(records, files, 87, "here")


@pytest.mark.parametrize(
    ("update", "message"),
    [
        ({"net": None}, "lacks its net"),
        ({"scaler": None}, "lacks its net"),
        ({"prefix": None}, "tensors of no member|lacks its net"),
        ({"head": None}, "lacks its head"),
        ({"head": "other.skops"}, "lacks its head"),
        ({"layer": None}, "layer None of 2"),
        ({"layer": 3}, "layer 3 of 2"),
        ({"layer": 0}, "layer 0 of 2"),
        ({"scaler": {"mean": [1.0]}}, "describes no net"),
        ({"scaler": {"mean": [1.0], "scale": [1.0, 2.0]}}, "describes no net"),
        ({"net": {"name": "transformer"}}, "describes no net"),
        ({"net": {"name": "elemnet", "hidden": [-1]}}, "describes no net"),
    ],
)
def test_old_records_that_lack_something_are_refused(update: dict[str, Any], message: str) -> None:
    record, files = old_head()
    with pytest.raises(StoreError, match=message):
        unpack_members([record.model_copy(update=update)], files, 86, "here")


def old_head() -> tuple[Member, dict[str, bytes]]:
    """A head as it was kept before members read features: one layer of one net, whose weights are the member's."""
    member = head_member()
    (body,) = member.features.sources
    (record,), files = pack_members([body])
    update = {"kind": "head", "layer": 1, "head": "m0.skops"}
    return record.model_copy(update=update), {**files, "m0.skops": pack_head(member.estimator)}


def test_an_old_head_is_read_as_ever() -> None:
    record, files = old_head()
    (again,) = unpack_members([record], files, 86, "here")
    assert np.array_equal(again.predict(tiny.inputs(7)), head_member().predict(tiny.inputs(7)))


@pytest.mark.parametrize(
    ("update", "message"),
    [
        ({"blocks": []}, "no blocks"),
        ({"blocks": [FeatureBlock(kind="activations", layer=3)]}, "layer 3 of 2"),
        ({"blocks": [FeatureBlock(kind="activations")]}, "layer None of 2"),
        ({"blocks": [FeatureBlock(kind="answers", source=1)]}, "source 1 of 1"),
        ({"blocks": [FeatureBlock(kind="answers", source=-1)]}, "source -1 of 1"),
        ({"sources": []}, "source 0 of 0"),
        ({"sources": [{}]}, "lacks its net"),
        ({"sources": [{"file": "source-0.safetensors"}]}, "lacks a source of its features.*source-0"),
        ({"scaler": {"mean": [1.0]}}, "no scaler of ours"),
        ({"scaler": {"mean": [1.0], "scale": [1.0], "log": [-1.0, 0.0, 1.0]}}, "no scaler of ours.*log warp"),
        ({"sources": [{"net": {"name": "transformer"}, "scaler": {"mean": [0.0], "scale": [1.0]}}]}, "no net of ours"),
        ({"head": None}, "lacks its head"),
        ({"head": "other.skops"}, "lacks its head"),
    ],
)
def test_records_that_lack_something_are_refused(update: dict[str, Any], message: str) -> None:
    records, files = pack_members([head_member()])
    with pytest.raises(StoreError, match=message):
        unpack_members([records[0].model_copy(update=update)], files, 86, "here")


def feature_net(blocks: tuple[Block, ...]) -> FeatureNetMember:
    features = Features(blocks, (tiny.net_member(5, outputs=2),), 86)
    h_BH = features.of(tiny.wide_inputs(20))
    net = build_net(tiny.NET, h_BH.shape[1], 1, seed=3).eval()
    return FeatureNetMember(features, tiny.NET, net, TargetScaler((1.0,), (2.0,)), h_BH.mean(0), h_BH.std(0) + 1)


BLOCKS = (Block("fractions"), Block("attributes"), Block("activations", 2), Block("answers"))


@pytest.mark.parametrize("blocks", [BLOCKS, *((block,) for block in BLOCKS)])
def test_features_side_by_side_survive_packing(blocks: tuple[Block, ...]) -> None:
    x_BX = tiny.wide_inputs(9)
    head = HeadMember(feature_net(blocks).features, Ridge().fit(np.eye(2), [0.0, 1.0]), (0.0, 1.0))
    head.estimator.fit(head.features.of(tiny.wide_inputs(20)), np.arange(20.0))
    members: list[LiveMember] = [feature_net(blocks), head]
    records, files = pack_members(members)
    again = unpack_members([Member.model_validate_json(r.model_dump_json()) for r in records], files, 86, "here")
    for before, after in zip(members, again, strict=True):
        assert np.array_equal(before.predict(x_BX), after.predict(x_BX))
    assert pack_members(again) == (records, files)
    assert records[0].attributes is (Block("attributes") in blocks)


def with_own_sources(
    members: list[LiveMember], records: list[Member], files: dict[str, bytes]
) -> tuple[list[Member], dict[str, bytes]]:
    """Records and files as they were when each member had its own copies of its sources, among its weights."""
    tensors = unpack_tensors(files[WEIGHTS], "test") if WEIGHTS in files else {}
    old = []
    for k, (member, record) in enumerate(zip(members, records, strict=True)):
        for place, source in enumerate(member.sources):
            tensors.update(with_prefix(f"m{k}.source{place}", source.net.state_dict()))
        described = [{name: said for name, said in each.items() if name != "file"} for each in record.sources]
        old.append(record.model_copy(update={"prefix": f"m{k}", "sources": described}))
    kept = {name: data for name, data in files.items() if not name.startswith("source-")}
    return old, {**kept, WEIGHTS: pack_tensors(tensors)}


def test_members_with_their_own_sources_are_read_as_ever() -> None:
    x_BX = tiny.wide_inputs(9)
    two = Features((Block("activations", 1, 1), Block("answers")), (tiny.net_member(3), tiny.net_member(4)), 86)
    head = HeadMember(two, Ridge().fit(two.of(tiny.wide_inputs(20)), np.arange(20.0)))
    members: list[LiveMember] = [feature_net(BLOCKS), head]
    records, files = with_own_sources(members, *pack_members(members))
    assert set(files) == {WEIGHTS, "m1.skops"}
    for before, after in zip(members, unpack_members(records, files, 86, "here"), strict=True):
        assert np.array_equal(before.predict(x_BX), after.predict(x_BX))
    lacking = records[1].model_copy(update={"sources": records[1].sources[:1]})
    with pytest.raises(StoreError, match=r"do not fit.*the first at source1\.hidden\.0\.bias"):
        unpack_members([records[0], lacking], files, 86, "here")


def test_a_source_is_one_file_however_many_members_read_it() -> None:
    source, x_BF = tiny.net_member(3), tiny.inputs(5)
    members: list[LiveMember] = []
    for layer in (1, 2):
        features = Features((Block("activations", layer), Block("answers")), (source,), 86)
        members.append(HeadMember(features, Ridge(alpha=layer).fit(features.of(tiny.inputs(20)), np.arange(20.0))))
    records, files = pack_members(members)
    name, data = source.as_source
    assert set(files) == {"m0.skops", "m1.skops", name}
    assert files[name] == data
    assert [record.prefix for record in records] == [None, None]
    first, second = unpack_members(records, files, 86, "here")
    assert first.sources[0] is second.sources[0]
    for before, after in zip(members, (first, second), strict=True):
        assert np.array_equal(before.predict(x_BF), after.predict(x_BF))


def test_equal_weights_of_other_units_are_two_sources() -> None:
    """The same net with its answers in eV and in meV: one file, and each member reads its own."""
    members: list[LiveMember] = []
    for scale in (1.0, 1000.0):
        features = Features((Block("answers"),), (tiny.net_member(3, 3 * scale, 2 * scale),), 86)
        members.append(HeadMember(features, Ridge().fit(features.of(tiny.inputs(20)), np.arange(20.0))))
    again = unpack_members(*pack_members(members), 86, "here")
    for before, after in zip(members, again, strict=True):
        assert np.array_equal(before.predict(tiny.inputs(5)), after.predict(tiny.inputs(5)))


@pytest.mark.parametrize("cut", [0, 20, -1])
def test_a_source_that_is_cut_short_is_refused(cut: int) -> None:
    records, files = pack_members([head_member()])
    (name,) = (name for name in files if name.startswith("source-"))
    with pytest.raises(StoreError, match=f"damaged or cut short.*{name}"):
        unpack_members(records, {**files, name: files[name][:cut]}, 86, "here")


def test_weights_that_16_bits_hold_take_16_bits_and_others_stay_whole() -> None:
    exact, other = tiny.net_member(1), tiny.net_member(2)
    exact.net.load_state_dict({name: rounded(value) for name, value in exact.net.state_dict().items()})
    members: list[LiveMember] = [exact, other]
    records, files = pack_members(members)
    kinds = {name: value.dtype for name, value in unpack_tensors(files[WEIGHTS], "test").items()}
    assert kinds["m0.output.weight"] == torch.float16
    assert kinds["m1.output.weight"] == torch.float32
    again = unpack_members(records, files, 86, "here")
    for before, after in zip(members, again, strict=True):
        assert np.array_equal(before.predict(tiny.inputs(5)), after.predict(tiny.inputs(5)))
        assert {value.dtype for value in after.tensors().values()} == {torch.float32}
    assert pack_members(again) == (records, files)


def test_a_heads_answers_are_mapped_back_by_its_scaler() -> None:
    y_B = np.exp(np.linspace(0, 12, 60))
    scaler = TargetScaler.fit_warped("log", y_B)
    features = Features((Block("fractions"),), (), 86)
    head = Ridge().fit(tiny.inputs(60), scaler.transform(y_B[:, None])[:, 0])
    member = HeadMember(features, head, (float(y_B[0]), float(y_B[-1])), scaler)
    x_BF = tiny.inputs(9, seed=1)
    (again,) = unpack_members(*pack_members([member]), 86, "here")
    expected = scaler.inverse(head.predict(x_BF)[:, None])[:, 0]
    assert again.predict(x_BF) == pytest.approx(expected)
    assert y_B[0] <= expected.min() < expected.max() <= y_B[-1]


def test_a_blocks_columns_are_what_it_says() -> None:
    x_BX, source = tiny.wide_inputs(9), tiny.net_member(5, outputs=2)
    parts = [Features((block,), (source,), 86).of(x_BX) for block in BLOCKS]
    assert np.array_equal(parts[0], x_BX[:, :86])
    assert np.array_equal(parts[1], x_BX[:, 86:])
    assert np.array_equal(parts[2], source.features(x_BX[:, :86], 2))
    assert np.allclose(parts[3], source.predict_all(x_BX[:, :86]))
    assert np.array_equal(Features(BLOCKS, (source,), 86).of(x_BX), np.concatenate(parts, axis=1))
    with pytest.raises(RequestError, match="no physical attributes"):
        Features((Block("attributes"),), (), 86).of(x_BX[:, :86])


def test_a_heads_answers_stay_within_its_bounds() -> None:
    features = Features((Block("fractions"),), (), 86)
    head = Ridge(alpha=1e-6).fit(tiny.inputs(100), np.linspace(-5, 5, 100))
    free, kept = HeadMember(features, head), HeadMember(features, head, (-1.0, 2.0))
    x_BF = tiny.inputs(50, seed=1)
    assert np.array_equal(kept.predict(x_BF), free.predict(x_BF).clip(-1, 2))
    assert not np.array_equal(kept.predict(x_BF), free.predict(x_BF))


@pytest.mark.parametrize("change", [lambda t: t.pop("m0.columns.center"), add("m0.columns.spread", torch.zeros(3))])
def test_scales_of_columns_that_do_not_fit_are_refused(change: Any) -> None:
    records, files = pack_members([feature_net(BLOCKS)])
    with pytest.raises(StoreError, match="lacks the scales of its columns"):
        unpack_members(records, changed(files, change), 86, "here")


def test_a_constant_without_value_is_refused() -> None:
    with pytest.raises(StoreError, match="a constant without one"):
        unpack_members([Member(kind="constant")], {}, 86, "here")


@pytest.mark.parametrize(
    "estimator",
    [
        make_pipeline(FunctionTransformer(func=json.loads), Ridge()),
        Strange(),
        make_pipeline(StandardScaler(), Strange()),
    ],
)
def test_a_head_of_another_type_is_refused_before_anything_runs(estimator: Any) -> None:
    with pytest.raises(StoreError, match="types that it may not hold"):
        unpack_head(skops.io.dumps(estimator), "here")


def test_a_damaged_head_is_a_store_error_at_whatever_byte() -> None:
    x = np.random.default_rng(0).random((9, 3))
    head = Ridge().fit(x, x[:, 0])
    data = pack_head(head)
    expected = head.predict(x)
    for place in range(0, len(data), max(1, len(data) // 60)):
        for bad in (data[:place], data[:place] + bytes([data[place] ^ 0x41]) + data[place + 1 :]):
            try:
                found = unpack_head(bad, "here")
            except StoreError:
                continue
            assert found.predict(x) == pytest.approx(expected)  # a byte that means nothing, such as a date
