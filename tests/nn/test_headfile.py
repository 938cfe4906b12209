"""The closed list of what a head's file may hold: all that methods fit is on it, and nothing is taken on trust."""

from __future__ import annotations

import io
import warnings
import zipfile

import numpy as np
import pytest

from xtlray.errors import StoreError
from xtlray.nn.headfile import TYPES, check_head_file
from xtlray.nn.heads import pack_head, unpack_head
from xtlray.nn.npyheader import array_of
from xtlray.transfer.regressors import REGRESSORS, Regressor

X = np.random.default_rng(0).random((60, 5)).astype(np.float32)
Y = X.astype(float) @ [1.0, 2.0, 3.0, 4.0, 5.0]
# Fewer trees make no other file.
FEW = {"n_estimators": 3, "max_iter": 3}


def fitted(entry: Regressor, variant: int) -> object:
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    estimator = entry.make({**entry.variants[variant], **next(entry.settings())}, 0)
    estimator.set_params(**{name: few for name, few in FEW.items() if name in estimator.get_params()})
    if entry.scaled:
        estimator = TransformedTargetRegressor(make_pipeline(StandardScaler(), estimator), transformer=StandardScaler())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return estimator.fit(X, Y)


@pytest.mark.parametrize(("name", "variant"), [(n, k) for n, e in REGRESSORS.items() for k in range(len(e.variants))])
def test_whatever_a_method_fits_can_be_kept(name: str, variant: int) -> None:
    head = fitted(REGRESSORS[name], variant)
    again = unpack_head(pack_head(head), "here")
    assert np.array_equal(again.predict(X), head.predict(X))  # type: ignore[attr-defined]


def test_the_list_names_classes_and_no_functions() -> None:
    """Of each class on it: it is one, of scikit-learn, numpy, or one of five of Python's own."""
    import importlib

    found = {}
    for names in TYPES.values():
        for name in names:
            module, _, cls = name.rpartition(".")
            found[name] = getattr(importlib.import_module(module), cls)
    assert all(isinstance(each, type) for each in found.values())
    rest = {name for name in found if not name.startswith(("sklearn.", "numpy."))}
    assert rest == {f"builtins.{name}" for name in ("dict", "list", "str", "tuple")}


def test_a_file_that_is_packed_is_read_but_not_one_that_explodes() -> None:
    head = fitted(REGRESSORS["ridge"], 0)
    with zipfile.ZipFile(io.BytesIO(pack_head(head))) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    found = []
    for extra in ({}, {"1.npy": bytes(10**7)}):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in {**entries, **extra}.items():
                archive.writestr(name, data)
        found.append(buffer.getvalue())
    small, bomb = found
    assert np.array_equal(unpack_head(small, "here").predict(X), head.predict(X))  # type: ignore[attr-defined]
    with pytest.raises(StoreError, match="unpack to 10,"):
        check_head_file(bomb, "here")


# --- numpy's headers -------------------------------------------------------------------------------------------------


def archive_of(data: bytes) -> zipfile.ZipFile:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("1.npy", data)
    return zipfile.ZipFile(buffer)


def saved(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("array", "only"),
    [
        (np.zeros((3, 4), np.float32), None),
        (np.array(7), 7),
        (np.array([1], np.uint8), 1),
        (np.array([258], ">i4"), 258),
        (np.zeros((0, 5)), None),
        (np.array([True]), None),
        (np.asfortranarray(np.ones((2, 3))), None),
        (np.zeros(3, [("a", "<i8"), ("b", "|u1")]), None),
        (np.zeros(3, np.dtype([("a", "<i8"), ("b", "|u1")], align=True)), None),
    ],
)
def test_what_numpy_writes_is_read(array: np.ndarray, only: int | None) -> None:
    assert array_of(archive_of(saved(array)), "1.npy") == (array.shape, only)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        saved(np.array(["text"])),
        saved(np.array([1 + 2j])),
        saved(np.zeros(2, "datetime64[s]")),
        saved(np.zeros(2, [("a", "<i8", (3,))])),
        saved(np.zeros(3))[:-1],
        saved(np.zeros(3)) + b"\0",
        saved(np.zeros(3)).replace(b"(3,)", b"(03)"),
        saved(np.zeros(3)).replace(b"'<f8'", b"'|O8'"),
        b"\x93NUMPY\x01\x00\xff\xff",
    ],
)
def test_what_is_no_array_of_numbers_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"1\.npy (is no array of numbers|has a shape of)|records of"):
        array_of(archive_of(data), "1.npy")
