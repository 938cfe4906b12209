"""What may lie in the file of a scikit-learn head, looked at before skops makes anything of it.

A skops file is a zip archive of numpy arrays and of a `schema.json`, a tree of nodes that says which classes to make of
them. skops itself refuses what it does not trust; but it trusts all of scikit-learn, numpy's functions and a good
deal of Python, makes objects whose compiled code believes whatever it is told, and gives two nodes of one id the first
one's content. So the tree is walked here first: the classes in it are those that methods fit and no others, each node
has the form that skops writes, and the archive unpacks to about its own size.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from xtlray.errors import StoreError
from xtlray.nn.limits import MOST_ENTRIES, MOST_EXPANSION, MOST_SCHEMA_BYTES
from xtlray.nn.npyheader import array_of
from xtlray.strict import in_short, read_json

_PROTOCOL = 2  # of skops, in which all heads were written; older ones have other, laxer nodes
_LOSSES = ("AbsoluteError", "HalfGammaLoss", "HalfPoissonLoss", "HalfSquaredError", "PinballLoss")
_BOOSTING = "sklearn.ensemble._hist_gradient_boosting"
_PARTS = (
    "sklearn.compose._target.TransformedTargetRegressor",
    "sklearn.ensemble._bagging.BaggingRegressor",
    "sklearn.ensemble._forest.ExtraTreesRegressor",
    "sklearn.ensemble._forest.RandomForestRegressor",
    "sklearn.ensemble._weight_boosting.AdaBoostRegressor",
    "sklearn.linear_model._base.LinearRegression",
    "sklearn.linear_model._coordinate_descent.ElasticNet",
    "sklearn.linear_model._coordinate_descent.Lasso",
    "sklearn.linear_model._ridge.Ridge",
    "sklearn.linear_model._stochastic_gradient.SGDRegressor",
    "sklearn.neighbors._regression.KNeighborsRegressor",
    "sklearn.pipeline.Pipeline",
    "sklearn.preprocessing._data.StandardScaler",
    "sklearn.svm._classes.SVR",
    "sklearn.tree._classes.DecisionTreeRegressor",
    "sklearn.tree._classes.ExtraTreeRegressor",
    f"{_BOOSTING}.binning._BinMapper",
    f"{_BOOSTING}.gradient_boosting.HistGradientBoostingRegressor",
    f"{_BOOSTING}.predictor.TreePredictor",
    *(f"sklearn._loss.link.{link}" for link in ("IdentityLink", "Interval", "LogLink")),
    *(f"sklearn._loss.loss.{loss}" for loss in _LOSSES),
)
TYPES: dict[str, frozenset[str]] = {
    "DictNode": frozenset({"builtins.dict"}),
    "JsonNode": frozenset({"builtins.str"}),
    "ListNode": frozenset({"builtins.list"}),
    "LossNode": frozenset(f"sklearn._loss._loss.Cy{loss}" for loss in _LOSSES),
    "NdArrayNode": frozenset(
        f"numpy.{kind}" for kind in ("ndarray", "bool", "float32", "float64", "int32", "int64", "uint8", "uint64")
    ),
    "ObjectNode": frozenset(_PARTS),
    "RandomGeneratorNode": frozenset({"numpy.random._generator.Generator"}),
    "TreeNode": frozenset({"sklearn.tree._tree.Tree"}),
    "TupleNode": frozenset({"builtins.tuple"}),
    "TypeNode": frozenset({"builtins.str"}),
}
"""The closed list: for each kind of node the classes that it may have."""

_ENTRY = re.compile(r"schema\.json|[0-9]{1,20}\.npy")
_DEEPEST = 60


def check_head_file(data: bytes, where: str) -> None:
    """Whether a head's file holds nothing but what heads are made of.

    Args:
        data: the file.
        where: it lies, for the message.

    Raises:
        StoreError: it is damaged, unpacks to far more than its size, holds a class that is not on the list, or nodes
            of another form than skops writes.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            _check_archive(archive, len(data))
            schema = read_json(archive.read("schema.json"), where, MOST_SCHEMA_BYTES, "The tree in a head's file")
            if not isinstance(schema, dict) or type(schema.get("protocol")) is not int:
                raise ValueError("its tree has no protocol")
            if schema["protocol"] != _PROTOCOL:
                raise ValueError(f"skops protocol {schema['protocol']}, not {_PROTOCOL}")
            _Tree(archive, where).walk(schema)
    except (
        zipfile.BadZipFile, zlib.error, ValueError, KeyError, TypeError, AttributeError, NotImplementedError, EOFError,
        RecursionError, OSError,
    ) as error:  # fmt: skip
        reason = "nested too deeply" if isinstance(error, RecursionError) else in_short(str(error))
        raise StoreError("A head's file is damaged or cut short", got=f"{where}: {reason}") from error


def _check_archive(archive: zipfile.ZipFile, size: int) -> None:
    entries = archive.infolist()
    names = [entry.filename for entry in entries]
    if len(names) > MOST_ENTRIES or len(set(names)) < len(names):
        raise ValueError(f"{len(names):,} entries, of {len(set(names)):,} names")
    strange = next((name for name in names if not _ENTRY.fullmatch(name)), None)
    if strange is not None:
        raise ValueError(f"an entry {strange!r}")
    if any(entry.flag_bits & 1 for entry in entries):
        raise ValueError("an encrypted entry")
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > MOST_EXPANSION * size:
        raise ValueError(f"{size:,} bytes that unpack to {unpacked:,}, more than {MOST_EXPANSION} times as many")


class _Tree:
    """A walk over the nodes of a schema. Its methods raise what `check_head_file` catches."""

    def __init__(self, archive: zipfile.ZipFile, where: str) -> None:
        self.archive, self.where = archive, where
        self.known: dict[int, Any] = {}
        self.open: set[int] = set()
        self.inside: dict[str, Callable[[Any], Iterable[Any]]] = {
            "DictNode": self._dict,
            "JsonNode": self._json,
            "ListNode": lambda node: node["content"],
            "LossNode": self._loss,
            "NdArrayNode": self._array,
            "ObjectNode": self._object,
            "RandomGeneratorNode": self._generator,
            "TreeNode": self._tree,
            "TupleNode": lambda node: node["content"],
            "TypeNode": lambda node: (),
        }

    def walk(self, node: Any) -> None:
        """Check a node and all that are inside it."""
        kind, name, number = node["__loader__"], f"{node['__module__']}.{node['__class__']}", node["__id__"]
        if not isinstance(kind, str) or name not in TYPES.get(kind, ()):
            got = f"{self.where}: {in_short(f'{name} ({kind})')}"
            raise StoreError("A head holds types that it may not hold", got=got)
        if type(number) is not int or number <= 0:
            raise ValueError(f"a node of the id {number!r}")
        if number in self.open:
            raise ValueError("a part that holds itself")
        if len(self.open) >= _DEEPEST:
            raise RecursionError
        if not _same(self.known.setdefault(number, node), node):
            raise ValueError("two parts of one id")
        self.open.add(number)
        for each in self.inside[kind](node):
            self.walk(each)
        self.open.remove(number)

    def _dict(self, node: Any) -> Iterator[Any]:
        keys = node["key_types"]["content"]
        if len(keys) != len(node["content"]):
            raise ValueError(f"{len(node['content'])} values and {len(keys)} types of keys")
        yield _expected(node["key_types"], "ListNode")
        for key in keys:
            yield _expected(key, "TypeNode")
        yield from node["content"].values()

    def _json(self, node: Any) -> tuple[Any, ...]:
        _scalar(node)
        return ()

    def _object(self, node: Any) -> tuple[Any, ...]:
        content = node["content"]
        if content["__loader__"] == "JsonNode" and _scalar(content) is None:  # without attributes
            return (content,)
        return (_expected(content, "DictNode"),)

    def _array(self, node: Any) -> tuple[Any, ...]:
        if node["type"] != "numpy":
            raise ValueError("an array of objects")
        array_of(self.archive, node["file"])
        return ()

    def _loss(self, node: Any) -> Iterator[Any]:
        """The compiled part of a loss: made of at most a few numbers, with no state to set."""
        if _expected(node["content"], "DictNode")["content"]:
            raise ValueError("a loss with a state")
        yield node["content"]
        for number in _expected(node["__reduce__"]["args"], "TupleNode")["content"]:
            if not isinstance(_scalar(number), int | float):
                raise ValueError("a loss that is not made of numbers")
        yield node["__reduce__"]["args"]

    def _tree(self, node: Any) -> Iterator[Any]:
        """A compiled tree: its maker reads as many numbers of classes as it is told there are outputs."""
        args = _expected(node["__reduce__"]["args"], "TupleNode")
        features, classes, outputs = args["content"]
        shape, first = array_of(self.archive, _expected(classes, "NdArrayNode")["file"])
        if type(_scalar(features)) is not int or _scalar(outputs) != 1 or shape != (1,) or first != 1:
            raise ValueError("a tree of more than one output")
        yield args
        yield _expected(node["content"], "DictNode")

    def _generator(self, node: Any) -> Iterator[Any]:
        """A random generator, which prediction does not use: numpy fills a pool of the size that it is told."""
        state, seeds = (_expected(node["content"][name], "DictNode") for name in ("bit_generator", "seed_seq"))
        if _scalar(state["content"]["bit_generator"]) != "PCG64" or _scalar(seeds["content"]["pool_size"]) != 4:
            raise ValueError("a random generator of another kind than numpy's default")
        yield state
        yield seeds


def _expected(node: Any, kind: str) -> Any:
    if node["__loader__"] != kind:
        raise ValueError(f"a {node['__loader__']} in the place of a {kind}")
    return node


def _scalar(node: Any) -> Any:
    """The number, text, truth value or None in a `JsonNode`; lists and mappings have nodes of their own."""
    text = _expected(node, "JsonNode")["content"]
    if not isinstance(text, str) or len(text) > 1000 or text.lstrip()[:1] in "[{":
        raise ValueError("a node of JSON that is no single value")
    return json.loads(text)


def _same(one: Any, other: Any) -> bool:
    """Whether two nodes are equal but for the ids of what is inside them: what skops writes of one object, twice."""
    if one is other:
        return True
    if isinstance(one, dict) and isinstance(other, dict):
        keys = one.keys() - {"__id__"}
        return keys == other.keys() - {"__id__"} and all(_same(one[key], other[key]) for key in keys)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return type(one) is type(other) and bool(one == other)
