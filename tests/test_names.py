"""Names of datasets and models: what may become a folder of the store and a word of the command line."""

import pytest

from xtlray.errors import RequestError
from xtlray.names import check_alias, check_dataset_name, check_file_name, check_model_name, parse_model


@pytest.mark.parametrize("name", ["user/2021", "2021/gap", "user/aliases", "builtin/gap"])
def test_a_dataset_whose_model_could_not_be_published_is_refused(name):
    with pytest.raises(RequestError, match=r"aliases|belong to the program"):
        check_dataset_name(name)


@pytest.mark.parametrize("name", ["user/band_gap", "a/b", "my-lab/c11.2", "0a/1b", "user/current"])
def test_dataset_names_that_are_fine(name):
    assert check_dataset_name(name) == name


@pytest.mark.parametrize(
    "name", ["", "gap", "a/b/c", "/gap", "user/", "User/gap", "user/../x", "user/.x", "user/gap\n", "user/a b", "é/a"]
)
def test_dataset_names_that_are_not(name):
    with pytest.raises(RequestError, match="SOURCE/PROPERTY"):
        check_dataset_name(name)


def test_reserved_source_is_refused_with_another_name():
    with pytest.raises(RequestError, match=r"oqmd/… belong to the program.*user/gap"):
        check_dataset_name("oqmd/gap", reserved={"oqmd", "jarvis"})


@pytest.mark.parametrize("name", ["oqmd-elemnet", "jarvis/klu", "builtin/demo", "a.b_c-d/3d"])
def test_model_names_that_are_fine(name):
    assert check_model_name(name) == name


@pytest.mark.parametrize(
    "name", ["", "3", "a/3", "3/a", "aliases", "a/aliases", "aliases/a", "a/b/c", "A", "a//b", "a/"]
)
def test_model_names_that_are_not(name):
    with pytest.raises(RequestError, match="A model's name"):
        check_model_name(name)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("oqmd-elemnet", ("oqmd-elemnet", None)),
        ("jarvis/klu@best", ("jarvis/klu", "best")),
        ("jarvis/klu@latest", ("jarvis/klu", "latest")),
        ("m@3", ("m", "3")),
    ],
)
def test_model_with_suffix(text, expected):
    assert parse_model(text) == expected


@pytest.mark.parametrize("text", ["m@", "m@0", "m@03", "m@Best", "m@a/b", "m@1@2", "@3", "m@-1"])
def test_model_with_a_bad_suffix(text):
    with pytest.raises(RequestError):
        parse_model(text)


@pytest.mark.parametrize("alias", ["production", "best", "v1.2", "0a"])
def test_aliases_that_are_fine(alias):
    assert check_alias(alias) == alias


@pytest.mark.parametrize("alias", ["", "latest", "3", "A", ".versions", "a/b", "../x", "a b", "a\n", "-a", "é"])
def test_aliases_that_are_not(alias):
    with pytest.raises(RequestError, match=r"one word|latest is always"):
        check_alias(alias)


@pytest.mark.parametrize("name", ["weights.safetensors", "m0.skops", "source-0123abcd.safetensors", "A_b-c"])
def test_file_names_that_are_fine(name):
    assert check_file_name(name) == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".x", "a/b", "../x", "/x", "a\\b", "a b", "a\x00", "a\n", "ü", "x" * 101, "Card.JSON", "-a"]
)
def test_file_names_that_are_not(name):
    with pytest.raises(RequestError, match="file of a model") as told:
        check_file_name(name)
    assert str(told.value).isprintable()


def test_a_number_beyond_all_is_no_version():
    assert parse_model("m@" + "9" * 18) == ("m", "9" * 18)
    with pytest.raises(RequestError, match="neither a version nor an alias"):
        parse_model("m@" + "9" * 5000)
