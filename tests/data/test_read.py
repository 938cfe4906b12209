"""Files as users have them: formulas stay text, columns are found by name, and what is broken is one clear error."""

import gzip
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xtlray.data.read import read_table
from xtlray.errors import RequestError


def write(tmp_path, content, name="t.csv"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def parquet(tmp_path, **columns):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table(columns), path)
    return path


def test_every_formula_stays_text(tmp_path):
    table = read_table(write(tmp_path, "formula,gap\nNaN,1\nNA,2\nNone,3\nnull,4\n12,5\n,6\nIn1e3,7\n"))
    assert table.formulas() == ["NaN", "NA", "None", "null", "12", "", "In1e3"]
    assert table.cells("gap") == ["1", "2", "3", "4", "5", "6", "7"]
    assert len(table) == 7


@pytest.mark.parametrize(
    "content",
    [
        b"formula,gap\nSiO2,1\n",
        b"\xef\xbb\xbfformula,gap\r\nSiO2,1\r\n",  # byte order mark, Windows line ends
        b"formula,gap\nSiO2,1",  # no line end
        b'\n"formula","gap"\n\nSiO2,"1"\n\n',  # quotes, blank lines
        gzip.compress(b"formula,gap\nSiO2,1\n"),
    ],
)
def test_spellings_of_one_table(tmp_path, content):
    table = read_table(write(tmp_path, content))
    assert table.columns == {"formula": ["SiO2"], "gap": ["1"]}


def test_parquet(tmp_path):
    table = read_table(parquet(tmp_path, formula=["NaN", None], gap=[1.5, None]))
    assert table.formulas() == ["NaN", None]
    assert table.cells(table.target_column("formula")) == [1.5, None]


def test_parquet_with_a_dictionary_of_formulas(tmp_path):
    path = parquet(tmp_path, formula=pa.array(["NaN", "Fe"]).dictionary_encode(), gap=["1", "x"])
    assert read_table(path).formulas() == ["NaN", "Fe"]
    assert read_table(path).cells("gap") == ["1", "x"]


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("gap,formula", "formula"),
        ("Formula,gap", "Formula"),
        ("COMPOSITION,gap", "COMPOSITION"),
        ("pretty formula,gap", "pretty formula"),
        ("composition,formula", "formula"),
        ("reduced_formula,gap", "reduced_formula"),
    ],
)
def test_formula_column_is_found_by_name(tmp_path, header, expected):
    assert read_table(write(tmp_path, f"{header}\na,b\n")).formula_column() == expected


@pytest.mark.parametrize(
    ("header", "row", "expected"),
    [
        ("formula,gap", "SiO2,x", "gap"),  # the only other column
        ("formula,name,gap", "SiO2,quartz,1.5", "gap"),  # the only one with numbers
        (",formula,gap", "0,SiO2,1.5", "gap"),  # row numbers have no name
        ("Unnamed: 0,formula,gap", "0,SiO2,1.5", "gap"),
    ],
)
def test_target_column_is_the_only_one_that_can_be(tmp_path, header, row, expected):
    assert read_table(write(tmp_path, f"{header}\n{row}\n")).target_column("formula") == expected


@pytest.mark.parametrize(
    ("header", "row", "message"),
    [
        ("formula,a,b", "SiO2,1,2", "More than one column may be the target.*'a', 'b' hold numbers.*--target-column"),
        ("formula,a,b", "SiO2,x,y", "No column holds the target.*'formula', 'a', 'b'"),
        ("formula", "SiO2", "No column holds the target"),
    ],
)
def test_target_column_that_cannot_be_told(tmp_path, header, row, message):
    with pytest.raises(RequestError, match=message):
        read_table(write(tmp_path, f"{header}\n{row}\n")).target_column("formula")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("material,gap", "No column is plainly that of the formulas.*'material', 'gap'.*--formula-column"),
        ("composition,pretty_formula", "More than one column may hold formulas"),
        ("formula,Formula", "More than one column may hold formulas"),
    ],
)
def test_formula_column_that_cannot_be_told(tmp_path, header, message):
    with pytest.raises(RequestError, match=message):
        read_table(write(tmp_path, f"{header}\na,b\n")).formula_column()


def test_columns_named_by_the_user(tmp_path):
    table = read_table(write(tmp_path, "material,a,b\nSiO2,1,2\n"))
    assert table.formulas("material") == ["SiO2"]
    assert table.target_column("material", "b") == "b"
    with pytest.raises(RequestError, match=r"no column of that name.*'c'.*'material', 'a', 'b'"):
        table.target_column("material", "c")


PARQUET_MAGIC = b"PAR1" + bytes(range(200))
BAD_FILES = {
    "empty": ("t.csv", b"", "The file is empty"),
    "header only": ("t.csv", b"formula,gap\n", "holds no rows"),
    "blank lines only": ("t.csv", b"\n\n\n", "holds no rows"),
    "long line": ("t.csv", b"formula,gap\nFe,1\nCo,1,5\n", "3 in line 3 .*2: 'formula', 'gap'"),
    "short line": ("t.csv", b"formula,gap\nFe,1\nCo\n", "1 in line 3"),
    "semicolons": ("t.csv", b"formula;gap\nFe;1,5\n", "separated by semicolons"),
    "tabs": ("t.csv", b"formula\tgap\nFe\t1\n", "separated by tabs"),
    "two columns of one name": ("t.csv", b"formula,gap,gap\nFe,1,2\n", "one name.*'gap'"),
    "Latin-1": ("t.csv", "formula,gap\nFe,1 Å\n".encode("latin-1"), "not text in UTF-8.*0xc5"),
    "UTF-16": ("t.csv", "formula,gap\nFe,1\n".encode("utf-16"), "not text in UTF-8"),
    "UTF-16 without mark": ("t.csv", "formula,gap\nFe,1\n".encode("utf-16-le"), "binary, or text in UTF-16"),
    "garbage": ("t.csv", bytes(range(256)), "not text in UTF-8"),
    "noise": ("t.csv", b"\x89PNG\r\n\x1a\n\xff\xfe", "not text in UTF-8"),
    "workbook": ("t.xlsx", b"PK\x03\x04rest", "zip archive or an Excel workbook"),
    "open quote": ("t.csv", b'formula,gap\n"Fe,1\n', "line 2 is not CSV"),
    "gzip cut off": ("t.csv.gz", gzip.compress(b"formula,gap\nFe,1\n" * 99)[:40], "gzip stream is cut off"),
    "gzip by name only": ("t.csv.gz", b"formula,gap\nFe,1\n", "its name says gzip"),
    "Parquet by name only": ("t.parquet", b"formula,gap\nFe,1\n", "its name says Parquet"),
    "Parquet damaged": ("t.parquet", PARQUET_MAGIC, "not a readable Parquet file"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_files_are_one_clear_error(tmp_path, case):
    name, content, message = BAD_FILES[case]
    with pytest.raises(RequestError, match=message) as caught:
        read_table(write(tmp_path, content, name))
    assert "\n" not in str(caught.value)
    assert name in str(caught.value) or case == "two columns of one name"


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(RequestError, match=r"no such file.*nothing\.csv"):
        read_table(tmp_path / "nothing.csv")
    with pytest.raises(RequestError, match="this is a folder"):
        read_table(tmp_path)
    with pytest.raises(RequestError, match="cannot be read"):
        read_table("a\0b")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_file_without_permission(tmp_path):
    path = write(tmp_path, "formula,gap\nFe,1\n")
    path.chmod(0)
    with pytest.raises(RequestError, match="Permission denied"):
        read_table(path)


@pytest.mark.parametrize("formulas", [[1, 2], [1.5, 2.5], [b"Fe", b"Co"], [["Fe"], ["Co"]]])
def test_parquet_formulas_that_are_no_text(tmp_path, formulas):
    with pytest.raises(RequestError, match="does not hold text"):
        read_table(parquet(tmp_path, formula=formulas, gap=[1.0, 2.0])).formulas()


def test_parquet_with_an_empty_table(tmp_path):
    with pytest.raises(RequestError, match="holds no rows"):
        read_table(parquet(tmp_path, formula=pa.array([], pa.string()), gap=pa.array([], pa.float64())))
