"""Against a real S3 server, Ceph's gateway: the store's promises, three clients, an outage, and no secret anywhere."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from tests.faults.ceph import ACCESS_KEY, Ceph
from tests.faults.harness import Program, wait_for
from xtlray.errors import MissingKeyError, StoreError
from xtlray.store import Store
from xtlray.store_check import check_store

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]


# --- the store's promises --------------------------------------------------------------------------------------------


def in_processes(store: Store, code: str, count: int) -> list[list[str]]:
    """What `count` processes print that run `code` with the store `s` and their number `i`, started at once."""
    head = "import sys; from xtlray.store import Store; s, i = Store.open(sys.argv[1]), int(sys.argv[2]);"
    command = [sys.executable, "-c", f"{head}print('ready', flush=True); sys.stdin.readline()\n{code}", store.url]
    running = [
        subprocess.Popen([*command, str(i)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for i in range(count)
    ]
    for each in running:
        assert each.stdout is not None
        assert each.stdout.readline() == "ready\n"
    said = []
    for each in running:
        assert each.stdin is not None
        each.stdin.write("go\n")
        each.stdin.flush()
    for each in running:
        out, _ = each.communicate(timeout=120)
        assert each.returncode == 0
        said.append(out.split())
    return said


def test_racing_processes_have_one_winner_per_key(s3_store: Store) -> None:
    keys = 40
    said = in_processes(s3_store, f"print(*(int(s.create(f'k/{{n}}', bytes([65 + i]))) for n in range({keys})))", 8)
    for n in range(keys):
        winners = [i for i, flags in enumerate(said) if flags[n] == "1"]
        assert len(winners) == 1
        assert s3_store.get(f"k/{n}") == bytes([65 + winners[0]])


def test_racing_claims_and_appends_get_every_number_once(s3_store: Store) -> None:
    code = "print(*(s.claim('attempts', '{n}/environment.json', {'equal': True}) for _ in range(10)))"
    numbers = [int(word) for words in in_processes(s3_store, code, 8) for word in words]
    assert sorted(numbers) == list(range(1, 81))
    assert s3_store.numbers("attempts") == list(range(1, 81))
    code = "print(*(s.append('log', {'by': i}) for _ in range(10)))"
    numbers = [int(word) for words in in_processes(s3_store, code, 4) for word in words]
    assert sorted(numbers) == list(range(1, 41))
    newest = s3_store.newest("log")
    assert newest is not None
    assert newest[0] == 40
    assert set(newest[1]) == {"by"}


def test_racing_publishers_have_one_winner_and_a_whole_folder(s3_store: Store) -> None:
    code = "print(int(s.publish('m/1', {'a': b'same', 'b': b'same'}, 'card.json', {'by': i})))"
    won = [words[0] for words in in_processes(s3_store, code, 8)]
    assert won.count("1") == 1
    assert s3_store.get_json("m/1/card.json") == {"by": won.index("1")}
    assert s3_store.list("m") == ["m/1/a", "m/1/b", "m/1/card.json"]


def test_listing_reading_and_deleting(s3_store: Store) -> None:
    keys = [f"a/{folder}/{i:04d}" for folder in ("b", "bc") for i in range(600)]  # more than one page
    s3_store.create("a/b.json", b"{}")
    assert all(s3_store.create(key, key.encode()) for key in keys)
    assert s3_store.list("a/b") == keys[:600]
    assert s3_store.list("") == sorted([*keys, "a/b.json"])
    assert s3_store.list("a/b", after=keys[590]) == keys[591:600]
    assert s3_store.children("a") == ["b", "b.json", "bc"]
    assert s3_store.get_all([*keys[:40], "a/none"]) == [*(key.encode() for key in keys[:40]), None]
    assert s3_store.get_range(keys[0], 2, 1) == b"b"
    assert s3_store.size(keys[0]) == len(keys[0])
    s3_store.delete([*keys, "a/none"])
    assert s3_store.list("") == ["a/b.json"]
    with pytest.raises(MissingKeyError):
        s3_store.get(keys[0])


def test_everything_that_is_needed_is_there(s3_store: Store) -> None:
    findings = list(check_store(s3_store))
    assert [f"{finding.check}: {finding.found}" for finding in findings if not finding.ok] == []
    assert len(findings) == 9
    assert s3_store.list("") == []


@pytest.mark.parametrize("ended_by", [signal.SIGINT, signal.SIGTERM])
def test_a_check_that_is_ended_leaves_nothing_behind(s3_store: Store, tmp_path: Path, ended_by: signal.Signals) -> None:
    program = Program(["--store", s3_store.url, "store", "check"], tmp_path)
    wait_for(lambda: s3_store.list(""), "something written")
    program.popen.send_signal(ended_by)
    assert program.wait(60) == 130
    assert "interrupted" in program.said
    assert s3_store.list("") == []


def write_profile(variables: Mapping[str, str]) -> None:
    """The same as those variables, as the profile `lab`."""
    keys = "".join(f"{name.lower()} = {value}\n" for name, value in variables.items() if "ENDPOINT" not in name)
    Path(os.environ["AWS_SHARED_CREDENTIALS_FILE"]).write_text(f"[lab]\n{keys}")
    Path(os.environ["AWS_CONFIG_FILE"]).write_text(f"[profile lab]\nendpoint_url = {variables['AWS_ENDPOINT_URL']}\n")


# --- keys ------------------------------------------------------------------------------------------------------------


def test_keys_for_an_hour_with_their_token(s3_store: Store, ceph: Ceph, no_aws: pytest.MonkeyPatch) -> None:
    for name, value in ceph.session().items():
        no_aws.setenv(name, value)
    assert {finding.ok for finding in check_store(Store(s3_store.url))} == {True}


def test_a_profile_with_its_server(s3_store: Store, ceph: Ceph, no_aws: pytest.MonkeyPatch) -> None:
    write_profile(ceph.environment)
    for name in ceph.environment:
        no_aws.delenv(name)
    no_aws.setenv("AWS_PROFILE", "lab")
    assert {finding.ok for finding in check_store(Store(s3_store.url))} == {True}


@pytest.mark.parametrize(
    ("variables", "bucket", "why"),
    [
        ({"AWS_ACCESS_KEY_ID": "nobody"}, None, "refuses access"),
        ({"AWS_SECRET_ACCESS_KEY": "wrong-secret"}, None, "refuses access"),
        ({"AWS_SESSION_TOKEN": "no-token-of-it"}, None, "400 InvalidArgument|400 Bad Request: InvalidArgument"),
        ({}, "no-such-bucket", "no such bucket"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    variables: dict[str, str], bucket: str | None, why: str, s3_store: Store, no_aws: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        no_aws.setenv(name, value)
    began = time.monotonic()
    for use in (lambda s: s.get("a"), lambda s: s.exists("a"), lambda s: s.create("a", b"1"), lambda s: s.children("")):
        with pytest.raises(StoreError) as told:
            use(Store.open(f"s3://{bucket}/x" if bucket else s3_store.url))
        if "HEAD" not in str(told.value):  # to which an answer has no body
            assert re.search(why, str(told.value))
        assert len(str(told.value).splitlines()) == 1
    assert time.monotonic() - began < 5


# --- an outage -------------------------------------------------------------------------------------------------------


def test_a_gateway_that_stands_still_is_waited_for_by_all_calls(s3_store: Store, ceph: Ceph) -> None:
    s3_store.create("a", b"1")
    files, path = s3_store.arrow("a")
    url, options = s3_store.delta("table")
    write_deltalake(url, pa.table({"a": [1]}), storage_options=options)
    calls: list[Callable[[], object]] = [
        lambda: files.get_file_info(path).size,
        lambda: DeltaTable(url, storage_options=options).version(),
        lambda: s3_store.get("a"),
        lambda: s3_store.create("b", b"2"),
        lambda: s3_store.children("none"),
        lambda: s3_store.claim("log", "{n}.json", {"v": 1}),
    ]
    with ThreadPoolExecutor(len(calls)) as pool:
        with ceph.frozen():
            waiting = [pool.submit(call) for call in calls]
            time.sleep(13)  # the outage; pyarrow's own client would give up after 11
            assert [call.done() for call in waiting] == [False] * len(calls)
        assert [call.result(60) for call in waiting] == [1, 0, b"1", True, [], 1]
    assert s3_store.get("b") == b"2"
    assert s3_store.numbers("log") == [1]


# --- no secret anywhere ----------------------------------------------------------------------------------------------

JOB = """
kind: pipeline
name: canary
pretrain:
  dataset: demo/formation_enthalpy
  net: {name: elemnet, hidden: [32, 16]}
  epochs: 1
  batch: 2048
  workers: 1
  model: canary-source
transfer:
  targets: [demo/bulk_modulus]
  methods: [base, sc-dl-ef]
  seeds: 1
  effort: quick
"""


SWEEP = """
kind: transfer
name: canary-sweep
targets: [demo/bulk_modulus]
methods: [base]
seeds: 1
effort: quick
"""


@pytest.mark.timeout(900)
def test_no_secret_is_found_anywhere(
    s3_store: Store, ceph: Ceph, no_aws: pytest.MonkeyPatch, tmp_path: Path, job: Callable[[str], str]
) -> None:
    """Commands that succeed and that fail, talkative ones; then all that they said and left behind is searched."""
    session = ceph.session()
    scratch = Path(tempfile.mkdtemp(prefix="c", dir="/tmp"))  # short, for Ray's sockets; its logs lie in it
    programs: list[Program] = []

    def run(*words: str, expected: int, **variables: str) -> Program:
        with pytest.MonkeyPatch.context() as patch:
            for name in ceph.environment:
                patch.delenv(name)
            for name, value in {**({} if "AWS_PROFILE" in variables else session), **variables}.items():
                patch.setenv(name, value)
            patch.setenv("TMPDIR", str(scratch))
            program = Program(["-v", "--store", s3_store.url, *words], tmp_path)
        programs.append(program)
        assert program.wait(200) == expected, program.said
        return program

    try:
        run("run", job(JOB), expected=0)
        write_profile(session)
        run("run", job(SWEEP), expected=0, AWS_PROFILE="lab")
        # It fails while Ray is up, whose logs are kept then: there, and their ends in the store.
        run("run", job(JOB), "--again", "--set", "pretrain.lr=1e30", "--set", "pretrain.precision=float32", expected=1)
        run("store", "check", expected=0, AWS_PROFILE="lab")
        run("models", "list", expected=0)
        run("doctor", expected=0)
        run("models", "show", "nobody/none", expected=2)
        run("store", "check", expected=1, AWS_SECRET_ACCESS_KEY=session["AWS_SECRET_ACCESS_KEY"][::-1])
        run("models", "list", expected=1, AWS_SESSION_TOKEN=session["AWS_SESSION_TOKEN"][:-8])
        run("--store", f"s3://{uuid.uuid4().hex}/x", "run", job(JOB), expected=1)
        run("run", job(JOB), "--again", expected=1, AWS_ENDPOINT_URL="http://127.0.0.1:9", XTLRAY_STORE_PATIENCE="1")
        run("--store", f"s3://{ACCESS_KEY}:{ceph.secret}@bucket/x", "models", "list", expected=2)

        Path(os.environ["AWS_SHARED_CREDENTIALS_FILE"]).unlink()  # where they may be
        found = {f"{path}": path.read_bytes() for path in (*tmp_path.rglob("*"), *scratch.rglob("*")) if path.is_file()}
        bucket, client = s3_store.url.split("/")[2], ceph.client()
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
            for item in page["Contents"]:
                found[f"s3: {item['Key']}"] = client.get_object(Bucket=bucket, Key=item["Key"])["Body"].read()
        names = "\n".join(found)
        for expected in (
            "/environment.json",
            "/attempts/1/ray/",
            "models/canary-source/1/card.json",
            "session_",
            "/logs/",
        ):
            assert expected in names  # the search was worth it

        secrets = [ceph.secret, session["AWS_SECRET_ACCESS_KEY"], session["AWS_SESSION_TOKEN"]]
        secrets += [session["AWS_SECRET_ACCESS_KEY"][::-1], session["AWS_SESSION_TOKEN"][:-8]]
        spelled = {each.encode() for secret in secrets for each in (secret, quote(secret), quote(secret, safe=""))}
        assert [name for name, data in found.items() if any(each in data for each in spelled)] == []
        assert not any(secret in name for secret in secrets for name in found)
        said = "".join(program.said for program in programs)
        assert "Traceback" in said  # they were talkative
    finally:
        for program in programs:
            program.kill_all()
        shutil.rmtree(scratch, ignore_errors=True)
