"""Hostile heads: name → the reason for which a skops file is refused, and what is done to the model."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import skops.io
from scipy import sparse
from sklearn.ensemble import ExtraTreesRegressor, GradientBoostingRegressor, HistGradientBoostingRegressor
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsRegressor
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR

from tests.registry.forging import (
    HEAD_FILE,
    Forgery,
    altered_head,
    attributes_of,
    node,
    put,
    schema_of,
    skops_file,
    value,
    with_head,
)

Forge = Callable[[Forgery], Any]
Change = Callable[[dict[str, Any], dict[str, bytes]], Any]
CANARY = "tests.registry.canary"


def listed(*found: Any, loader: str = "ListNode", name: str = "builtins.list") -> dict[str, Any]:
    return node(loader, name, content=list(found))


def tupled(*found: Any) -> dict[str, Any]:
    return listed(*found, loader="TupleNode", name="builtins.tuple")


def mapped(**found: Any) -> dict[str, Any]:
    keys = listed(*[node("TypeNode", "builtins.str")] * len(found))
    return node("DictNode", "builtins.dict", content=found, key_types=keys)


TOUCH = node("FunctionNode", f"{CANARY}.touch")
TOUCHING = node("ObjectNode", f"{CANARY}.Touch", content=mapped(a=value(1)))


def file_of(change: Callable[[bytes], bytes]) -> Forge:
    """The bytes of the head's file are others."""
    return lambda model: model.files.update({HEAD_FILE: change(model.files[HEAD_FILE])})


def holding(thing: Any) -> Forge:
    """The head's file is what skops writes of this."""
    return lambda model: model.files.update({HEAD_FILE: skops.io.dumps(thing)})


def fitted(estimator: Any, **attributes: Any) -> Forge:
    """The head is this estimator, with some of its attributes changed after it was fitted."""

    def forge(model: Forgery) -> None:
        fit = estimator.fit

        class Fitted:
            def fit(self, x: Any, y: Any) -> Any:
                found = fit(x, y)
                for name, change in attributes.items():
                    setattr(found, name, change(getattr(found, name)) if callable(change) else change)
                return found

        with_head(Fitted())(model)

    return forge


def neighbours(**attributes: Any) -> Forge:
    return fitted(KNeighborsRegressor(algorithm="brute"), **attributes)


def add_attribute(schema: dict[str, Any], name: str, found: dict[str, Any]) -> None:
    attributes = schema["content"]
    attributes["content"][name] = found
    attributes["key_types"]["content"].append(node("TypeNode", "builtins.str"))


def zeros(schema: dict[str, Any], entries: dict[str, bytes]) -> None:
    """The scaler's scale is of zeros."""
    file = attributes_of(schema, 0)["scale_"]["file"]
    entries[file] = entries[file][:128] + bytes(len(entries[file]) - 128)


def root(**fields: Any) -> Forge:
    return altered_head(lambda schema, entries: schema.update(fields))


def array(header: str, data: bytes = b"", version: bytes = b"\x01\x00") -> Forge:
    """Each array of the head begins with another header."""
    text = header.encode("latin-1") + b"\n"
    npy = b"\x93NUMPY" + version + len(text).to_bytes(2, "little") + text + data
    return altered_head(lambda schema, entries: entries.update(dict.fromkeys(entries, npy)))


def pickled(schema: dict[str, Any], entries: dict[str, bytes]) -> None:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.array([print, {}], dtype=object), allow_pickle=True)
    entries.update({name: buffer.getvalue() for name in entries})


def in_zip(write: Callable[[zipfile.ZipFile, dict[str, Any], dict[str, bytes]], Any]) -> Forge:
    """The head's file is an archive that is written otherwise."""

    def forge(model: Forgery) -> None:
        schema, entries = schema_of(model.files[HEAD_FILE])
        buffer = io.BytesIO(skops_file(schema, entries))
        with zipfile.ZipFile(buffer, "a") as archive:
            write(archive, schema, entries)
        model.files[HEAD_FILE] = buffer.getvalue()

    return forge


def bomb(archive: zipfile.ZipFile, schema: Any, entries: Any) -> None:
    archive.writestr("1.npy", bytes(20_000_000), zipfile.ZIP_DEFLATED, 9)


def encrypted(data: bytes) -> bytes:
    """The first entry of the directory says so."""
    place = data.index(b"PK\x01\x02")
    return data[: place + 8] + bytes([data[place + 8] | 1]) + data[place + 9 :]


def circle(schema: dict[str, Any], entries: dict[str, bytes]) -> None:
    attributes_of(schema).update(memory={**listed(value(1)), "__id__": schema["__id__"]})


def two_of_one_id(schema: dict[str, Any], entries: dict[str, bytes]) -> None:
    """skops would take the first of them for both."""
    attributes_of(schema).update(memory={**listed(value(1)), "__id__": 5}, verbose={**listed(value(2)), "__id__": 5})


def scaler(**changes: dict[str, Any]) -> Forge:
    return altered_head(lambda schema, entries: attributes_of(schema, 0).update(changes))


def nodes_of(change: Callable[[Any], None]) -> Forge:
    """The first tree of a forest is another."""

    def alter(trees: Any) -> Any:
        state = trees[0].tree_.__getstate__()
        change(state["nodes"])
        trees[0].tree_.__setstate__(state)
        return trees

    return fitted(ExtraTreesRegressor(2, random_state=0), estimators_=alter)


def first_node(name: str, number: int) -> Callable[[Any], None]:
    return lambda nodes: nodes[name].__setitem__(0, number)


def outputs_of_a_tree(model: Forgery) -> None:
    """A compiled tree that has, as it says, a billion outputs: its maker reads as many numbers."""
    with_head(ExtraTreesRegressor(1))(model)
    schema, entries = schema_of(model.files[HEAD_FILE])
    tree = attributes_of(schema)["estimators_"]["content"][0]["content"]["content"]["tree_"]
    tree["__reduce__"]["args"]["content"][2] = value(10**9)
    model.files[HEAD_FILE] = skops_file(schema, entries)


def pool_of_a_generator(model: Forgery) -> None:
    with_head(HistGradientBoostingRegressor(max_iter=2, max_features=0.5))(model)
    schema, entries = schema_of(model.files[HEAD_FILE])
    generator = attributes_of(schema)["_feature_subsample_rng"]["content"]
    generator["seed_seq"]["content"]["pool_size"] = value(10**10)
    model.files[HEAD_FILE] = skops_file(schema, entries)


OFF_THE_LIST = "types that it may not hold"
TYPES: dict[str, tuple[str, Forge]] = {
    "a function": (f"{OFF_THE_LIST}.*os.system", put(node("FunctionNode", "os.system"))),
    "a function of ours": (f"{OFF_THE_LIST}.*canary.touch", put(TOUCH)),
    "a function that skops trusts": (f"{OFF_THE_LIST}.*numpy.add", put(node("FunctionNode", "numpy.add"))),
    "a class": (f"{OFF_THE_LIST}.*canary.Touch", put(TOUCHING)),
    "a class in a list in a tuple": (f"{OFF_THE_LIST}.*canary.Touch", put(tupled(listed(value(1), TOUCHING)))),
    "a class in the key of a mapping": (
        f"{OFF_THE_LIST}.*builtins.eval",
        put({**mapped(a=value(1)), "key_types": listed(node("TypeNode", "builtins.eval"))}),
    ),
    "a partial": (
        f"{OFF_THE_LIST}.*functools.partial",
        put(
            node(
                "PartialNode",
                "functools.partial",
                content={"func": TOUCH, "args": tupled(value(1)), "kwds": mapped(), "namespace": mapped()},
            )
        ),
    ),
    "a methodcaller": (
        f"{OFF_THE_LIST}.*operator.methodcaller",
        put(node("OperatorFuncNode", "operator.methodcaller", attrs=tupled(value("touch")))),
    ),
    "a bound method": (
        f"{OFF_THE_LIST}.*Touch",
        put(node("MethodNode", f"{CANARY}.Touch", content={"func": "predict", "obj": TOUCHING})),
    ),
    "a call": (
        f"{OFF_THE_LIST}.*ConstructorFromReduceNode",
        put(node("ConstructorFromReduceNode", f"{CANARY}.Touch", content=tupled(value(1)))),
    ),
    "a type": (f"{OFF_THE_LIST}.*builtins.eval", put(node("TypeNode", "builtins.eval"))),
    "bytes": (f"{OFF_THE_LIST}.*builtins.bytes", put(node("BytesNode", "builtins.bytes", file="a.bin"))),
    "a sparse matrix": ("an entry .*npz", fitted(Ridge(), coef_=lambda x: sparse.csr_matrix(x))),
    "a masked array": (f"{OFF_THE_LIST}.*MaskedArray", fitted(Ridge(), coef_=lambda x: np.ma.masked_array(x))),
    "an array of objects": ("an array of objects", fitted(Ridge(), coef_=lambda x: np.array([None, *x], object))),
    "a loader that there is not": (OFF_THE_LIST, put(node("PickleNode", "builtins.dict"))),
    "a regressor that no method fits": (f"{OFF_THE_LIST}.*_gb", with_head(GradientBoostingRegressor(n_estimators=2))),
    "no estimator": ("cannot be used.*AttributeError", holding({"a": 1})),
    "no regressor": ("cannot be used.*no regressor", with_head(StandardScaler())),
    "a class by a number": (f"{OFF_THE_LIST}.*pipeline.7", root(__class__=7)),
}

FORMS: dict[str, tuple[str, Forge]] = {
    "no archive": ("damaged or cut short", file_of(lambda data: b"\x80\x04" + data[:100])),
    "cut short": ("damaged or cut short", file_of(lambda data: data[:-30])),
    "a tree without end": ("nested too deeply", file_of(lambda data: skops_file(b"[" * 100_000, {}))),
    "no tree": ("damaged or cut short", file_of(lambda data: skops_file(b"null", {}))),
    "a future protocol": ("skops protocol 99, not 2", root(protocol=99)),
    "an older, laxer protocol": ("skops protocol 0, not 2", root(protocol=0)),
    "a protocol that is none": ("no protocol", root(protocol=True)),
    "a zip bomb": ("that unpack to 20,", in_zip(bomb)),
    "an entry above": ("an entry '../evil.npy'", in_zip(lambda zip_, schema, _: zip_.writestr("../evil.npy", b""))),
    "an entry of Python": ("an entry 'x.py'", in_zip(lambda zip_, schema, _: zip_.writestr("x.py", b""))),
    "two trees": ("entries, of", in_zip(lambda zip_, schema, _: zip_.writestr("schema.json", json.dumps(schema)))),
    "an encrypted entry": ("an encrypted entry", file_of(encrypted)),
    "an array that is not there": (
        "damaged or cut short",
        scaler(mean_=node("NdArrayNode", "numpy.ndarray", type="numpy", file="77.npy")),
    ),
    "an array in the tree": (
        "an array in",
        scaler(mean_=node("NdArrayNode", "numpy.ndarray", type="numpy", file="schema.json")),
    ),
    "an array of pickle": ("is no array of numbers", altered_head(pickled)),
    "an array's header of Python": ("is no array of numbers", array("{'descr': __import__('os').system('true')}")),
    "an array larger than its file": (
        "has a shape of",
        array("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }"),
    ),
    "an array of nothing, often": (
        "has a shape of",
        array("{'descr': [], 'fortran_order': False, 'shape': (1000000000000000,), }"),
    ),
    "an array of a later form": (
        "is no array",
        array("{'descr': '<f8', 'fortran_order': False, 'shape': (0,), }", version=b"\x03\x00"),
    ),
    "a part that holds itself": ("a part that holds itself", altered_head(circle)),
    "two parts of one id": ("two parts of one id", altered_head(two_of_one_id)),
    "a value that is a tree": ("no single value", put({**value(1), "content": "[" * 10_000})),
    "keys without values": ("values and 0 types of keys", put({**mapped(a=value(1)), "key_types": listed()})),
    "an object of a list": ("a ListNode in the place", root(content=listed(value(1)))),
    "a tree of a billion outputs": ("more than one output", outputs_of_a_tree),
    "a generator with a pool of gigabytes": ("random generator of another kind", pool_of_a_generator),
}

NUMBERS: dict[str, tuple[str, Forge]] = {
    "a child beyond the tree": ("a child that is not there", nodes_of(first_node("left_child", 10**9))),
    "a tree in a circle": ("a child that is not there", nodes_of(first_node("right_child", 0))),
    "a split by column 10⁹": ("a column that is not there", nodes_of(first_node("feature", 10**9))),
    "a method of its own": (
        "predict in the place of its class' own",
        altered_head(lambda schema, entries: add_attribute(schema, "predict", value("touch"))),
    ),
    "another kind of machine": ("_impl in the place", fitted(SVR(), _impl="one_class")),
    "a kernel of its own": ("a kernel precomputed", fitted(SVR(), kernel="precomputed", shape_fit_=(94,))),
    "support vectors of a million classes": ("support vectors", fitted(SVR(), _n_support=lambda n: np.tile(n, 500))),
    "neighbours that are not there": ("rows of shape", neighbours(n_samples_fit_=9)),
    "more neighbours than rows": ("neighbours of", neighbours(n_neighbors=99)),
    "distances of its own": ("distances of the kind", neighbours(effective_metric_="precomputed")),
    "a search tree": (f"{OFF_THE_LIST}.*KDTree", with_head(KNeighborsRegressor(algorithm="kd_tree"))),
    "a million processes": ("n_jobs 1000000", fitted(ExtraTreesRegressor(2), n_jobs=10**6)),
    "a forest of a billion outputs": ("4000000000 outputs", fitted(ExtraTreesRegressor(2), n_outputs_=4 * 10**9)),
    "chatter": ("verbose 50", fitted(ExtraTreesRegressor(2), verbose=50)),
    "columns divided by zero": ("cannot divide by", altered_head(zeros)),
    "answers of another shape": (r"answers of shape \(1, 2\)", fitted(Ridge(), coef_=lambda x: np.stack([x, x]))),
    "an intercept for two rows": (r"answers of shape \(2,\) for 1 rows", fitted(Ridge(), intercept_=np.zeros(2))),
    "columns without number": ("it reads", fitted(Ridge(), n_features_in_=10**12)),
    "other columns than its member": ("reads other columns", with_head(Ridge(), columns=10)),
}

CASES = {f"head: {name}": case for group in (TYPES, FORMS, NUMBERS) for name, case in group.items()}
