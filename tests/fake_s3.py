"""An S3 server in a thread, small and obedient until a test tells it not to be.

It knows what a store needs: GET with ranges, HEAD, PUT with `If-None-Match`, DELETE and the bulk delete, listing with
prefix, delimiter, `start-after` and pages, uploads in parts. Signatures are not checked. Faults are set on the `FakeS3`
between requests.
"""

from __future__ import annotations

import base64
import hashlib
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

DATE = "Sat, 01 Jan 2000 00:00:00 GMT"
CUT = 0  # among answers: none at all, the connection is closed


@dataclass
class FakeS3:
    """The server's state.

    Attributes:
        url: its endpoint.
        buckets: name → key → bytes.
        answers: codes to give, one per request and before anything is done, `CUT` among them; with a text, that is
            the error's code in S3's words.
        put_refusals: codes to give, one per PUT, before anything is done.
        put_answers: codes to give, one per PUT, after it has been done.
        doubled_puts: how many PUTs something on the way sends twice, and passes on the second answer.
        keeps_preconditions: whether `If-None-Match` is honoured.
        looks_first: seconds between looking whether a key is there and writing it, as a server without locks has them.
        keeps_ranges: whether `Range` is honoured.
        largest: bytes of the largest request that is taken.
        half_gets: how many answers with a body are cut in the middle.
        repeats: whether errors repeat the request's headers, as some servers do to help.
        says: what errors say besides.
        page: keys in a page of a listing.
        frozen: what listings show instead of `buckets`.
        requests: method, path with query and headers of each.
    """

    url: str = ""
    buckets: dict[str, dict[str, bytes]] = field(default_factory=lambda: {"bucket": {}})
    answers: list[int | tuple[int, str]] = field(default_factory=list)
    put_refusals: list[int | tuple[int, str]] = field(default_factory=list)
    put_answers: list[int] = field(default_factory=list)
    doubled_puts: int = 0
    keeps_preconditions: bool = True
    looks_first: float = 0.0
    keeps_ranges: bool = True
    largest: int = 1 << 30
    half_gets: int = 0
    repeats: bool = False
    says: str = ""
    page: int = 1000
    frozen: dict[str, dict[str, bytes]] | None = None
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    parts: dict[str, dict[int, bytes]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def environment(self) -> dict[str, str]:
        """What a user sets to reach it."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "access-key",
            "AWS_SECRET_ACCESS_KEY": "secret/key+of/the+fake/server",
        }

    def freeze_lists(self) -> None:
        """From now on listings show what is there now, as a store that is consistent only in the end would."""
        self.frozen = {name: dict(keys) for name, keys in self.buckets.items()}

    def sent(self, method: str) -> list[str]:
        """The paths of the requests of a method."""
        return [path for each, path, _ in self.requests if each == method]


class _Handler(BaseHTTPRequestHandler):
    fake: FakeS3
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer in one piece: else each waits for the client's acknowledgement of its head
    disable_nagle_algorithm = True

    # --- what is asked for -------------------------------------------------------------------------------------------

    def handle_one(self) -> None:
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fake = self.fake
        with fake.lock:
            fake.requests.append((self.command, self.path, dict(self.headers.items())))
            faults = fake.put_refusals if self.command == "PUT" and fake.put_refusals else fake.answers
            fault = faults.pop(0) if faults else (413, "EntityTooLarge") if len(data) > fake.largest else None
        if fault is not None:
            code, word = fault if isinstance(fault, tuple) else (fault, "")
            self._error(code, word)
            return
        parts = urlsplit(self.path)
        bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
        if bucket not in fake.buckets:
            self._error(404, "NoSuchBucket")
            return
        getattr(self, f"_{self.command.lower()}")(bucket, key, parse_qs(parts.query, keep_blank_values=True), data)

    do_GET = do_HEAD = do_PUT = do_DELETE = do_POST = handle_one

    def _get(self, bucket: str, key: str, query: dict[str, list[str]], _: bytes) -> None:
        if not key:
            self._list(bucket, {name: values[0] for name, values in query.items()})
            return
        data = self.fake.buckets[bucket].get(key)
        if data is None:
            self._error(404, "NoSuchKey")
            return
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if not asked or not self.fake.keeps_ranges:
            self._answer(200, data, {"ETag": _tag(data)})
            return
        first, last = int(asked[1]), min(int(asked[2] or len(data)), len(data) - 1)
        if first >= len(data):
            self._error(416, "InvalidRange")
            return
        where = {"Content-Range": f"bytes {first}-{last}/{len(data)}", "ETag": _tag(data)}
        self._answer(206, data[first : last + 1], where)

    _head = _get

    def _put(self, bucket: str, key: str, query: dict[str, list[str]], data: bytes) -> None:
        fake = self.fake
        if "uploadId" in query:
            fake.parts[query["uploadId"][0]][int(query["partNumber"][0])] = data
            self._answer(200, b"", {"ETag": _tag(data)})
            return
        there = key in fake.buckets[bucket]
        time.sleep(fake.looks_first)
        with fake.lock:
            if fake.doubled_puts:
                fake.doubled_puts -= 1
                fake.buckets[bucket].setdefault(key, data)
            there = there if fake.looks_first else key in fake.buckets[bucket]
            refused = there and self.headers.get("If-None-Match") == "*" and fake.keeps_preconditions
            if not refused:
                fake.buckets[bucket][key] = data
            code = fake.put_answers.pop(0) if fake.put_answers else 200
        if refused:
            self._error(412, "PreconditionFailed")
        elif code == 200:
            self._answer(200, b"", {"ETag": _tag(data)})
        else:
            self._error(code, "InternalError")

    def _delete(self, bucket: str, key: str, _: dict[str, list[str]], __: bytes) -> None:
        self.fake.buckets[bucket].pop(key, None)
        self._answer(204, b"")

    def _post(self, bucket: str, key: str, query: dict[str, list[str]], data: bytes) -> None:
        if "uploads" in query:
            upload = str(len(self.fake.parts))
            self.fake.parts[upload] = {}
            self._answer(200, f"<R><UploadId>{upload}</UploadId><Key>{escape(key)}</Key></R>".encode())
            return
        if "uploadId" in query:
            parts = self.fake.parts[query["uploadId"][0]]
            self.fake.buckets[bucket][key] = whole = b"".join(parts[number] for number in sorted(parts))
            tag = escape(_tag(whole))
            self._answer(
                200, f"<CompleteMultipartUploadResult><ETag>{tag}</ETag></CompleteMultipartUploadResult>".encode()
            )
            return
        assert "delete" in query, f"not known here: POST {self.path}"
        keys = [node.text or "" for node in ElementTree.fromstring(data).iter() if node.tag.rpartition("}")[2] == "Key"]
        for key in keys:
            self.fake.buckets[bucket].pop(key, None)
        gone = "".join(f"<Deleted><Key>{escape(key)}</Key></Deleted>" for key in keys)
        self._answer(200, f"<DeleteResult>{gone}</DeleteResult>".encode())

    def _list(self, bucket: str, query: dict[str, str]) -> None:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        after = base64.b64decode(query.get("continuation-token", "")).decode() or query.get("start-after", "")
        there = (self.fake.frozen or self.fake.buckets)[bucket]
        found: dict[str, str] = {}  # what a page counts: a key, or what keys share up to the delimiter
        for key in sorted(there):
            head, mark, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
            entry = prefix + head + delimiter if mark else key
            if key.startswith(prefix) and entry > after:
                data = there[key]
                found[entry] = (
                    f"<CommonPrefixes><Prefix>{escape(entry)}</Prefix></CommonPrefixes>"
                    if mark
                    else f"<Contents><Key>{escape(key)}</Key><LastModified>2000-01-01T00:00:00.000Z</LastModified>"
                    f"<ETag>{escape(_tag(data))}</ETag><Size>{len(data)}</Size></Contents>"
                )
        names = list(found)[: min(self.fake.page, int(query.get("max-keys", "1000")))]
        more = len(found) > len(names)
        token = base64.b64encode(names[-1].encode()).decode() if more else ""
        text = f"<ListBucketResult><KeyCount>{len(names)}</KeyCount><IsTruncated>{str(more).lower()}</IsTruncated>"
        text += f"<NextContinuationToken>{token}</NextContinuationToken>" if more else ""
        self._answer(200, f"{text}{''.join(found[name] for name in names)}</ListBucketResult>".encode())

    # --- what is answered --------------------------------------------------------------------------------------------

    def _answer(self, code: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(code)
        for name, value in {"Content-Length": str(len(body)), "Last-Modified": DATE, **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        with self.fake.lock:
            half = bool(body) and self.fake.half_gets > 0
            self.fake.half_gets -= half
        self.wfile.write(body[: len(body) // 2] if half else body)
        self.close_connection |= half

    def _error(self, code: int, word: str) -> None:
        if code == CUT:
            self.close_connection = True
            return
        said = escape(self.fake.says + (repr(dict(self.headers.items())) if self.fake.repeats else ""))
        text = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{word}</Code><Message>{said}</Message></Error>'
        self._answer(code, text.encode() if word else b"")

    def handle_expect_100(self) -> bool:
        done = super().handle_expect_100()
        self.wfile.flush()  # the client waits for it
        return done

    def log_message(self, *_: object) -> None:
        """Not a word on stderr."""


def _tag(data: bytes) -> str:
    return f'"{hashlib.md5(data).hexdigest()}"'


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *_: Any) -> None:
        """A client that went away is nobody's concern."""


@contextmanager
def serving() -> Iterator[FakeS3]:
    """A fake server for the length of a `with`."""
    fake = FakeS3()
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"fake": fake}))
    fake.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
