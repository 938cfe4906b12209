"""Keys, endpoint and region: from variables and profiles to obstore, delta-rs and pyarrow alike, and to nobody else."""

from __future__ import annotations

import json
import logging
import pickle
import socket
import stat
import sys
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from pyarrow import fs

from tests.fake_s3 import CUT, FakeS3
from xtlray.credentials import access
from xtlray.errors import MissingKeyError, RequestError, StoreError, StoreGoneError
from xtlray.store import Store

CANARY, TOKEN = "canary/of+a=secret/key", "canary-token/of+a=session=="
Profile = Callable[..., None]


@pytest.fixture
def profile(fake_s3: FakeS3, no_aws: pytest.MonkeyPatch, tmp_path: Path) -> Profile:
    """Writes ~/.aws/credentials and ~/.aws/config, and takes the variables away."""
    for name in (*fake_s3.environment, "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        no_aws.delenv(name)
    no_aws.setenv("HOME", str(tmp_path))
    (tmp_path / ".aws").mkdir()

    def write(credentials: str = "", config: str = "") -> None:
        (tmp_path / ".aws" / "credentials").write_text(credentials)
        (tmp_path / ".aws" / "config").write_text(config.replace("URL", fake_s3.url))

    return write


def last(fake: FakeS3) -> tuple[str, str, str | None]:
    """Access key, region and token of the newest request."""
    headers = {name.lower(): value for name, value in fake.requests[-1][2].items()}
    key, _, region, *_ = headers["authorization"].partition("Credential=")[2].split(",")[0].split("/")
    return key, region, headers.get("x-amz-security-token")


def use(store: Store, client: str) -> None:
    """One request by one of the three clients."""
    if client == "obstore":
        store.list("")
    elif client == "delta-rs":
        url, options = store.delta("table")
        write_deltalake(url, pa.table({"a": [1]}), mode="append", storage_options=options)
        assert DeltaTable(url, storage_options=options).version() == 0
    else:
        files, path = store.arrow("a")
        assert files.get_file_info(f"{path}/none").type == fs.FileType.NotFound


CLIENTS = ["obstore", "delta-rs", "pyarrow"]


# --- what a user sets ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("client", CLIENTS)
def test_the_usual_variables_are_enough(fake_s3: FakeS3, s3: Store, client: str) -> None:
    use(s3, client)
    assert last(fake_s3) == ("access-key", "us-east-1", None)


@pytest.mark.parametrize("client", CLIENTS)
def test_region_and_session_token_go_along(fake_s3: FakeS3, no_aws: pytest.MonkeyPatch, client: str) -> None:
    no_aws.setenv("AWS_REGION", "eu-central-1")
    no_aws.setenv("AWS_SESSION_TOKEN", TOKEN)
    use(Store.open(f"s3://bucket/token-{client}"), client)
    assert last(fake_s3) == ("access-key", "eu-central-1", TOKEN)


@pytest.mark.parametrize("client", CLIENTS)
def test_a_profile_gives_keys_token_region_and_endpoint(
    fake_s3: FakeS3, profile: Profile, no_aws: pytest.MonkeyPatch, client: str
) -> None:
    profile(
        f"[lab]\naws_access_key_id = of-lab\naws_secret_access_key = {CANARY}\naws_session_token = {TOKEN}\n"
        "[default]\naws_access_key_id = of-default\naws_secret_access_key = x\n",
        "[profile lab]\nregion = ap-south-1\nendpoint_url = URL\n",
    )
    no_aws.setenv("AWS_PROFILE", "lab")
    use(Store.open(f"s3://bucket/lab-{client}"), client)
    assert last(fake_s3) == ("of-lab", "ap-south-1", TOKEN)


def test_without_a_name_the_default_profile_is_meant_and_s3_may_have_a_server_of_its_own(
    fake_s3: FakeS3, profile: Profile
) -> None:
    profile(
        f"[default]\naws_access_key_id = of-default\naws_secret_access_key = {CANARY}\n",
        "[default]\nservices = mine\nendpoint_url = http://127.0.0.1:9\n[services mine]\ns3 =\n  endpoint_url = URL\n",
    )
    Store.open("s3://bucket/default").list("")
    assert last(fake_s3) == ("of-default", "us-east-1", None)


def test_keys_in_the_environment_come_first_and_the_profile_says_the_rest(
    fake_s3: FakeS3, profile: Profile, no_aws: pytest.MonkeyPatch
) -> None:
    profile("", "[profile lab]\nregion = ap-south-1\nendpoint_url = URL\naws_access_key_id = of-lab\n")
    no_aws.setenv("AWS_PROFILE", "lab")
    no_aws.setenv("AWS_ACCESS_KEY_ID", "of-environment")
    no_aws.setenv("AWS_SECRET_ACCESS_KEY", CANARY)
    Store.open("s3://bucket/both").list("")
    assert last(fake_s3) == ("of-environment", "ap-south-1", None)


def test_keys_that_expire_are_asked_for_again(
    fake_s3: FakeS3, profile: Profile, no_aws: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script = tmp_path / "keys.py"
    script.write_text(
        f"#!{sys.executable}\nimport json, pathlib\n"
        f"counter = pathlib.Path({str(tmp_path / 'asked')!r})\ncounter.open('a').write('x')\n"
        "keys = {'Version': 1, 'AccessKeyId': f'number-{len(counter.read_text())}', 'SecretAccessKey': 'sssssss',"
        f" 'SessionToken': {TOKEN!r}, 'Expiration': {(datetime.now(UTC) + timedelta(seconds=30)).isoformat()!r}}}\n"
        "print(json.dumps(keys))\n"
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    profile("", f"[default]\nendpoint_url = URL\ncredential_process = {script}\n")
    store = Store.open("s3://bucket/renewed")
    store.list("")
    before = int(last(fake_s3)[0].removeprefix("number-"))
    assert last(fake_s3)[2] == TOKEN
    Store(store.url).list("")
    assert int(last(fake_s3)[0].removeprefix("number-")) > before

    script.write_text(f"#!{sys.executable}\nraise SystemExit('log in again, says the program')\n")
    with pytest.raises(RequestError, match="keys of the profile cannot be had"):
        Store(store.url)


def test_a_public_bucket_needs_no_keys(fake_s3: FakeS3, no_aws: pytest.MonkeyPatch) -> None:
    no_aws.setenv("AWS_SKIP_SIGNATURE", "true")
    for client in ("obstore", "pyarrow"):
        use(Store.open("s3://bucket/public"), client)
        assert "authorization" not in {name.lower() for name in fake_s3.requests[-1][2]}


# --- what is wrong is said at once -----------------------------------------------------------------------------------


def test_without_keys_there_is_one_clear_error(no_aws: pytest.MonkeyPatch) -> None:
    with pytest.raises(RequestError, match=r"no keys for S3.*AWS_ACCESS_KEY_ID.*AWS_PROFILE") as told:
        Store.open("s3://bucket/x")
    assert len(str(told.value)) < 300


def test_a_machine_that_gives_out_keys_is_not_waited_for_long(no_aws: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        no_aws.delenv("AWS_EC2_METADATA_DISABLED")
        no_aws.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        began = time.monotonic()
        with pytest.raises(RequestError, match="no keys for S3"):
            Store.open("s3://bucket/x")
        assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("variables", "why"),
    [
        ({"AWS_SECRET_ACCESS_KEY": ""}, "Half of the keys"),
        ({"AWS_ACCESS_KEY_ID": ""}, "Half of the keys"),
        ({"AWS_ENDPOINT_URL": "127.0.0.1:9000"}, "no URL"),
        ({"AWS_ENDPOINT_URL": "http://"}, "no URL"),
        ({"AWS_ENDPOINT_URL": "http://host:port"}, "no URL"),
        ({"AWS_ENDPOINT_URL": f"http://key:{CANARY}@host"}, "more than a server"),
        ({"AWS_ENDPOINT_URL_S3": f"http://host/?token={CANARY}"}, "more than a server"),
    ],
)
def test_what_is_wrong_with_the_variables(
    variables: dict[str, str], why: str, fake_s3: FakeS3, no_aws: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        no_aws.setenv(name, value)
    with pytest.raises(RequestError, match=why) as told:
        Store.open("s3://bucket/x")
    assert "canary" not in str(told.value)


def test_a_profile_that_is_missing(profile: Profile, no_aws: pytest.MonkeyPatch) -> None:
    profile("[lab]\naws_access_key_id = a\naws_secret_access_key = b\n")
    no_aws.setenv("AWS_PROFILE", "lob")
    with pytest.raises(RequestError, match=r"no profile of that name.*lob.*lab"):
        Store.open("s3://bucket/x")


def test_files_that_are_no_profiles(profile: Profile, no_aws: pytest.MonkeyPatch) -> None:
    profile("[lab\naws_secret_access_key = x\n")
    with pytest.raises(RequestError, match="profiles for S3 cannot be read"):
        Store.open("s3://bucket/x")


# --- secrets go nowhere ----------------------------------------------------------------------------------------------


@pytest.fixture
def canaries(fake_s3: FakeS3, no_aws: pytest.MonkeyPatch) -> None:
    no_aws.setenv("AWS_SECRET_ACCESS_KEY", CANARY)
    no_aws.setenv("AWS_SESSION_TOKEN", TOKEN)


def everything(error: BaseException) -> str:
    """What a person, a log or a process that is sent the error gets to see."""
    return "".join(traceback.format_exception(error)) + repr(error) + str(pickle.loads(pickle.dumps(error)))


@pytest.mark.parametrize("answer", [(403, "SignatureDoesNotMatch"), (400, "Odd"), (404, "NoSuchBucket"), (503, "Slow")])
def test_a_server_that_repeats_what_it_got_tells_no_secret(
    canaries: None,
    fake_s3: FakeS3,
    no_aws: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    answer: tuple[int, str],
) -> None:
    no_aws.setenv("XTLRAY_STORE_PATIENCE", "0.3")
    no_aws.setattr("xtlray.patience.SAID_AFTER", 0.0)
    no_aws.setattr(logging.getLogger("xtlray"), "propagate", True)
    store = Store.open(f"s3://bucket/repeats-{answer[1]}")
    fake_s3.repeats = True
    fake_s3.says = CANARY
    fake_s3.answers[:] = [answer] * 1000
    with pytest.raises(StoreError) as told:
        store.get("a")
    assert TOKEN in str(fake_s3.requests[-1][2].values())
    shown = everything(told.value) + caplog.text
    assert answer[1] in shown
    assert "***" in shown
    for secret in (CANARY, TOKEN, "canary"):
        assert secret not in shown
    fake_s3.answers[:] = [(404, "NoSuchKey")]
    with pytest.raises(MissingKeyError) as missing:
        store.get("a")
    assert "canary" not in everything(missing.value)
    if answer[0] == 503:
        assert isinstance(told.value, StoreGoneError)
        assert "has been out of reach" in caplog.text


def test_nothing_shows_or_takes_along_a_secret(canaries: None, fake_s3: FakeS3) -> None:
    store = Store.open("s3://bucket/shown")
    files, _ = store.arrow("a")
    use(store, "obstore")
    files.get_file_info("bucket/shown/a")  # now it has opened pyarrow's own, with keys
    shown: list[Any] = [repr(store), vars(store), store.where, repr(files), repr(access()), repr(access().keys())]
    shown += [pickle.dumps(store), pickle.dumps(files), pickle.dumps(store.for_ray("x"))]
    assert "canary" not in repr(shown)
    assert pickle.loads(pickle.dumps(files)) == files


def test_what_renews_keys_may_fail_later_and_tells_no_secret(
    fake_s3: FakeS3, no_aws: pytest.MonkeyPatch, s3: Store
) -> None:
    def fails() -> dict[str, Any]:
        raise ValueError(f"the service said {CANARY}")

    no_aws.setenv("AWS_SECRET_ACCESS_KEY", CANARY)
    arguments = {"config": {"endpoint": fake_s3.url}, "client_options": {"allow_http": True}}
    no_aws.setattr("xtlray.credentials.Access.obstore", lambda self: {**arguments, "credential_provider": fails})
    with pytest.raises(StoreError, match="cannot be renewed") as told:
        Store(s3.url).get("a")
    assert "canary" not in everything(told.value)


def test_the_environment_that_is_kept_holds_no_variables(canaries: None) -> None:
    from xtlray.provenance import environment

    assert "canary" not in json.dumps(environment())


def test_delta_options_name_the_store_and_are_none_for_a_folder(s3: Store, store: Store, fake_s3: FakeS3) -> None:
    url, options = s3.delta("leaderboard/trials")
    assert url == f"{s3.url}/leaderboard/trials"
    assert options["AWS_ENDPOINT_URL"] == fake_s3.url
    assert options["AWS_ALLOW_HTTP"] == "true"
    assert store.delta("leaderboard/trials") == (str(store.local_path / "leaderboard" / "trials"), {})


def test_a_server_that_comes_back_is_found_by_all(fake_s3: FakeS3, s3: Store) -> None:
    """delta-rs and pyarrow try again by themselves."""
    for client in CLIENTS:
        fake_s3.answers[:] = [CUT]
        use(s3, client)
