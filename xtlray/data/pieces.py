"""Tables too large for memory, read in pieces: where the pieces of a file begin, and the rows of one.

A piece is so many rows of one file, cut alike whenever the same file is cut. What is wrong with a table is said as
`read.py` says it. A CSV is looked through once for its cuts, of Parquet the footer suffices; a damaged page of data is
found when its piece is read.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from xtlray.data.read import GZIP, PARQUET, ZIP, Table, broken, check_names, csv_rows, not_utf8
from xtlray.data.sources import InputFile, cannot_be_read
from xtlray.errors import RequestError

ROWS = 50_000
"""Of a piece at most."""

BYTES = 32 << 20
"""Of a piece at most, before compression; a single row may have more."""

_BOM = b"\xef\xbb\xbf"
_BUFFER = 4 << 20  # bytes of a column that are read at once
_BATCH = 16_384  # rows that are read at once at most; fewer where a piece has fewer, for they are wide


@dataclass(frozen=True)
class Span:
    """A piece of a file.

    Attributes:
        start: its first row.
        rows: how many it has.
        offset: of a CSV, the byte of its (unzipped) text where the piece begins.
    """

    start: int
    rows: int
    offset: int = 0


def survey(file: InputFile) -> list[Span]:
    """The pieces of a file, one at least.

    Raises:
        RequestError: it is empty, damaged, no table, or no column is plainly that of the formulas.
    """
    with reader_of(file) as reader:
        check_names(file.url, reader.names)
        empty = pa.schema(reader.types).empty_table()
        Table(file.url, dict(zip(empty.column_names, empty.columns, strict=True)), "").formulas()
        return list(reader.spans()) or [Span(0, 0)]


def reader_of(file: InputFile) -> Reader:
    """What reads that file. Raises `RequestError` where it is empty, or neither CSV nor Parquet."""
    data = file.open()
    begin = data.read(4)
    data.seek(0)
    name = file.url.lower()
    if not begin:
        raise RequestError("The file is empty", got=file.url)
    if begin == PARQUET:
        return ParquetReader(file, data)
    if name.endswith((".parquet", ".pq")):
        raise broken(file.url, "its name says Parquet, its first bytes do not")
    if begin == ZIP:
        raise broken(file.url, "it is a zip archive or an Excel workbook")
    zipped = begin.startswith(GZIP)
    if name.endswith(".gz") and not zipped:
        raise broken(file.url, "its name says gzip, its first bytes do not")
    return CsvReader(file, gzip.GzipFile(fileobj=data) if zipped else data, data)


class Reader:
    """A table in a file, open for reading. What is read next should lie behind what was read before.

    Attributes:
        types: the table's columns.
    """

    types: pa.Schema

    def __init__(self, file: InputFile, *opened: BinaryIO) -> None:
        self._url, self._opened = file.url, opened

    @property
    def names(self) -> list[str]:
        """Of the columns."""
        names: list[str] = self.types.names
        return names

    def spans(self) -> Iterator[Span]:
        """The pieces of the table; none where it has no rows."""
        raise NotImplementedError

    def read(self, span: Span) -> pa.Table:
        """The rows of a piece. Raises `RequestError` where they cannot be read."""
        raise NotImplementedError

    def close(self) -> None:
        """Nothing is read any more."""
        for each in self._opened:
            each.close()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class ParquetReader(Reader):
    """A Parquet file."""

    def __init__(self, file: InputFile, data: BinaryIO) -> None:
        super().__init__(file, data)
        with self._checked():
            self._parquet = pq.ParquetFile(
                file.url if file.store is None else data, pre_buffer=False, buffer_size=_BUFFER
            )
            about = self._parquet.metadata
            self.types = self._parquet.schema_arrow
        groups = [about.row_group(i) for i in range(about.num_row_groups)]
        self._rows, size = about.num_rows, sum(group.total_byte_size for group in groups)
        self._at_once = max(1, min(ROWS, BYTES * self._rows // max(1, size)))
        self._starts = [0]
        for group in groups:
            self._starts.append(self._starts[-1] + group.num_rows)
        self._batches: Iterator[pa.RecordBatch] = iter(())
        self._at, self._left = -1, None

    def spans(self) -> Iterator[Span]:
        for start in range(0, self._rows, self._at_once):
            yield Span(start, min(self._at_once, self._rows - start))

    def read(self, span: Span) -> pa.Table:
        with self._checked():
            self._go_to(span.start)
            found: list[pa.RecordBatch] = []
            wanted = span.rows
            while wanted:
                batch = self._next()
                found.append(batch[:wanted])
                self._left = batch[wanted:] if len(batch) > wanted else None
                wanted -= len(found[-1])
            self._at = span.start + span.rows
            return pa.Table.from_batches(found, self.types)

    def _go_to(self, row: int) -> None:
        """Stand before `row`: go on from where the last piece ended, unless its row group begins later."""
        group = max((i for i, start in enumerate(self._starts[:-1]) if start <= row), default=0)
        if not self._starts[group] <= self._at <= row:
            self._batches, self._left = self._batches_from(group), None
            self._at = self._starts[group]
        while self._at < row:
            batch = self._next()
            skipped = min(len(batch), row - self._at)
            self._left = batch[skipped:] if skipped < len(batch) else None
            self._at += skipped

    def _batches_from(self, first: int) -> Iterator[pa.RecordBatch]:
        """Group by group: a batch over two of them would be lost where one is damaged."""
        for group in range(first, len(self._starts) - 1):
            yield from self._parquet.iter_batches(min(_BATCH, self._at_once), row_groups=[group], use_threads=False)

    def _next(self) -> pa.RecordBatch:
        batch, self._left = self._left, None
        batch = next(self._batches, None) if batch is None else batch
        if batch is None:
            raise broken(self._url, "it holds fewer rows than its footer says")
        return batch

    @contextmanager
    def _checked(self) -> Iterator[None]:
        try:
            yield
        except MemoryError:  # one of Arrow's is among those below
            raise
        except (pa.ArrowException, OSError) as error:
            self._at = -1
            if getattr(error, "errno", None):  # the system's word; of damage Arrow speaks without a number
                raise cannot_be_read(self._url, error) from error
            said = (str(error).splitlines() or [type(error).__name__])[0]
            raise broken(self._url, f"not a readable Parquet file ({said})") from error


class CsvReader(Reader):
    """A CSV; every cell is text, as it stands there.

    Args:
        file: that it is.
        data: its bytes, unzipped.
    """

    def __init__(self, file: InputFile, data: Any, *opened: BinaryIO) -> None:
        super().__init__(file, data, *opened)
        self._data = data
        with _readable(self._url):
            self._begin = len(_BOM) if data.read(len(_BOM)) == _BOM else 0
        with _Lines(self._url, data, self._begin) as lines:
            header = next(csv_rows(self._url, lines), [])
        if not header:
            raise RequestError("The file holds no rows", got=self._url, fix="give one with a header line")
        self.types = pa.schema([(name, pa.string()) for name in header])
        self._lines: _Lines | None = None
        self._rows: Iterator[Sequence[str]] = iter(())
        self._next = -1

    def spans(self) -> Iterator[Span]:
        with _Lines(self._url, self._data, self._begin) as lines:
            rows = csv_rows(self._url, lines)
            next(rows)
            first, count, offset = 0, 0, lines.at
            for _ in rows:
                count += 1
                if count == ROWS or lines.at - offset >= BYTES:
                    yield Span(first, count, offset)
                    first, count, offset = first + count, 0, lines.at
            if count:
                yield Span(first, count, offset)

    def read(self, span: Span) -> pa.Table:
        if self._lines is None or self._next != span.start:
            if self._lines is not None:
                self._lines.close()
            self._lines = _Lines(self._url, self._data, span.offset)
            self._rows = csv_rows(self._url, self._lines, len(self.types))
        rows = list(islice(self._rows, span.rows))
        if len(rows) < span.rows:
            raise broken(self._url, "it became shorter while it was read")
        self._next = span.start + span.rows
        columns = zip(*rows, strict=True) if rows else ((),) * len(self.types)
        return pa.table([pa.array(cells, pa.string()) for cells in columns], self.types)


class _Lines:
    """The lines of a text from a byte on, each with its end.

    Attributes:
        at: the byte where the line that was given last ends.
    """

    def __init__(self, url: str, data: Any, start: int) -> None:
        self._url, self._data, self.at = url, data, start
        with _readable(url):
            data.seek(start)
        self._text = io.TextIOWrapper(data, encoding="utf-8", newline="")

    def __iter__(self) -> Iterator[str]:
        try:
            with _readable(self._url):
                for line in self._text:
                    if "\0" in line:
                        raise broken(self._url, "it is binary, or text in UTF-16")
                    self.at += len(line) if line.isascii() else len(line.encode())
                    yield line
        except UnicodeDecodeError as error:
            raise not_utf8(self._url, error, self._data.tell() - len(error.object)) from error

    def __enter__(self) -> _Lines:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the bytes open for others."""
        self._text.detach()


@contextmanager
def _readable(url: str) -> Iterator[None]:
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise broken(url, f"the gzip stream is cut off or damaged ({error})") from error
    except OSError as error:
        raise cannot_be_read(url, error) from error
