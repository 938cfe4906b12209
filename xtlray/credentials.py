"""Who we are to S3, and where it is: endpoint, region and keys, from the variables and profiles that a user has set.

obstore, delta-rs and pyarrow (Ray's client) each read a part of them, and not the same. So they are read here, once,
and handed to all three. Keys in the environment come first; else botocore is asked, which knows profiles, single
sign-on, roles and the services that give keys to machines and pods.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from xtlray.errors import RequestError
from xtlray.scrub import remember, scrub

REGION = "us-east-1"  # every server that is not Amazon's takes it
# Ray's S3 client adds checksums that servers other than Amazon's refuse (411), unless it is told not to.
CHECKSUMS = {"AWS_REQUEST_CHECKSUM_CALCULATION": "when_required", "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required"}

_REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
_RENEWED = timedelta(minutes=5)  # how long keys that expire are used before they are asked for again


@dataclass(frozen=True)
class Keys:
    """A pair of keys, with a token where they are for a while only."""

    access: str
    secret: str = field(repr=False)
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Access:
    """How S3 is reached.

    Attributes:
        endpoint: URL of the server; None is Amazon's.
        region: of the bucket.
        anonymous: requests are not signed (`AWS_SKIP_SIGNATURE`), as for a public bucket.
    """

    endpoint: str | None
    region: str
    anonymous: bool
    _keys: Any = field(default=None, repr=False)  # Keys that last, or botocore's credentials, which renew themselves

    @property
    def plain_http(self) -> bool:
        return bool(self.endpoint and self.endpoint.startswith("http://"))

    def keys(self) -> Keys | None:
        """The keys as they are now; None for anonymous requests.

        Raises:
            RequestError: they have expired, and cannot be had anew.
        """
        if self._keys is None or isinstance(self._keys, Keys):
            return self._keys
        try:
            frozen = self._keys.get_frozen_credentials()
        except Exception as error:  # of botocore, and of whatever it asked: a login that has expired, a program
            raise RequestError(
                "The keys of the profile cannot be had",
                got=scrub(f"{type(error).__name__}: {error}"),
                fix="log in again (aws sso login), or set AWS_PROFILE to another profile",
            ) from None
        return _remembered(Keys(frozen.access_key, frozen.secret_key, frozen.token))

    def obstore(self) -> dict[str, Any]:
        """Arguments of obstore's `from_url`; `credential_provider` is among them where keys expire."""
        config: dict[str, Any] = {"region": self.region, "conditional_put": "etag"}
        config |= {"endpoint": self.endpoint} if self.endpoint else {}
        arguments: dict[str, Any] = {"config": config, "client_options": {"allow_http": self.plain_http}}
        keys = self.keys()  # here and now, so that what is missing is said in our words
        if keys is None:
            config["skip_signature"] = True
        elif isinstance(self._keys, Keys):
            config |= {"access_key_id": keys.access, "secret_access_key": keys.secret}
            config |= {"session_token": keys.token} if keys.token else {}
        else:
            arguments["credential_provider"] = self._renewed
        return arguments

    def _renewed(self) -> dict[str, Any]:
        keys = self.keys()
        assert keys is not None
        until = datetime.now(UTC) + _RENEWED
        return {
            "access_key_id": keys.access,
            "secret_access_key": keys.secret,
            "token": keys.token,
            "expires_at": until,
        }

    def delta(self) -> dict[str, str]:
        """Storage options of delta-rs. They hold the keys: never to be shown or kept."""
        options = {"AWS_REGION": self.region, "AWS_ALLOW_HTTP": str(self.plain_http).lower()}
        options |= {"AWS_ENDPOINT_URL": self.endpoint} if self.endpoint else {}
        keys = self.keys()
        if keys is None:
            return {**options, "AWS_SKIP_SIGNATURE": "true"}
        options |= {"AWS_ACCESS_KEY_ID": keys.access, "AWS_SECRET_ACCESS_KEY": keys.secret}
        return options | ({"AWS_SESSION_TOKEN": keys.token} if keys.token else {})

    def arrow(self) -> dict[str, Any]:
        """Arguments of pyarrow's `S3FileSystem`. They hold the keys: never to be shown or kept."""
        arguments: dict[str, Any] = {"region": self.region}
        if self.endpoint:
            arguments |= {
                "scheme": "http" if self.plain_http else "https",
                "endpoint_override": self.endpoint.partition("://")[2],
            }
        keys = self.keys()
        if keys is None:
            return {**arguments, "anonymous": True}
        return {**arguments, "access_key": keys.access, "secret_key": keys.secret, "session_token": keys.token}


_found: dict[tuple[tuple[str, str], ...], Access] = {}
_lock = threading.Lock()


def access() -> Access:
    """How S3 is reached with what the environment and the profiles say now.

    Raises:
        RequestError: there are no keys, half of them, no such profile, or an endpoint that is no URL.
    """
    state = tuple(sorted((name, value) for name, value in os.environ.items() if _decides(name)))
    with _lock:  # botocore asks a machine's own service for keys, which takes a while where there is none
        if state not in _found:
            _found.clear()
            _found[state] = _look()
        return _found[state]


def _decides(variable: str) -> bool:
    return variable == "HOME" or (variable.startswith("AWS_") and variable not in CHECKSUMS)


def set_checksums() -> None:
    """Set what pyarrow's S3 client needs, for this process and those that it starts, unless the user has set it."""
    for name, value in CHECKSUMS.items():
        os.environ.setdefault(name, value)


def _remembered(keys: Keys) -> Keys:
    remember(keys.secret, keys.token)
    return keys


# --- what the user has set -------------------------------------------------------------------------------------------


def _look() -> Access:
    anonymous = os.environ.get("AWS_SKIP_SIGNATURE", "").lower() in ("1", "true", "yes", "on")
    keys: Any = None if anonymous else _keys_of_environment()
    endpoint, region = _first(_ENDPOINTS), _first(_REGIONS)
    if anonymous or (keys and ((endpoint and region) or not _has_profiles())):
        profile: dict[str, Any] = {}
    else:
        session, profile = _session(lenient=keys is not None)
        keys = keys or _keys_of(session)
    endpoint = endpoint or profile.get("endpoint_url")
    return Access(_checked(endpoint) if endpoint else None, region or profile.get("region") or REGION, anonymous, keys)


def _first(names: Iterable[str]) -> str | None:
    return next((os.environ[name] for name in names if os.environ.get(name)), None)


def _keys_of_environment() -> Keys | None:
    pair = os.environ.get("AWS_ACCESS_KEY_ID"), os.environ.get("AWS_SECRET_ACCESS_KEY")
    if not any(pair):
        return None
    if not all(pair):
        raise RequestError(
            "Half of the keys for S3 are missing",
            got="only AWS_ACCESS_KEY_ID" if pair[0] else "only AWS_SECRET_ACCESS_KEY",
            fix="set both AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or neither and AWS_PROFILE",
        )
    return _remembered(Keys(str(pair[0]), str(pair[1]), os.environ.get("AWS_SESSION_TOKEN") or None))


def _has_profiles() -> bool:
    files = {"AWS_CONFIG_FILE": "~/.aws/config", "AWS_SHARED_CREDENTIALS_FILE": "~/.aws/credentials"}
    return any(Path(os.environ.get(name) or usual).expanduser().is_file() for name, usual in files.items())


def _session(lenient: bool) -> tuple[Any, dict[str, Any]]:
    """botocore's session, and what its profile says of S3. `lenient`: a profile that is missing does not matter."""
    import botocore.session
    from botocore.exceptions import BotoCoreError, ProfileNotFound

    session = botocore.session.get_session()
    try:
        profile = dict(session.get_scoped_config())
        services = session.full_config.get("services", {}).get(profile.get("services"), {})
    except ProfileNotFound as error:
        if lenient:
            return session, {}
        raise RequestError(
            "There is no profile of that name for S3",
            got=str(session.profile),
            allowed=", ".join(session.available_profiles) or "there is none yet",
            fix="correct AWS_PROFILE, or make it with aws configure --profile",
        ) from error
    except BotoCoreError as error:
        raise RequestError(
            "The profiles for S3 cannot be read",
            got=scrub(str(error)),
            fix="correct ~/.aws/config and ~/.aws/credentials",
        ) from None
    if session.get_config_variable("ignore_configured_endpoint_urls"):
        profile.pop("endpoint_url", None)
    elif services.get("s3", {}).get("endpoint_url"):
        profile["endpoint_url"] = services["s3"]["endpoint_url"]
    return session, profile


def _keys_of(session: Any) -> Any:
    from botocore.exceptions import BotoCoreError

    try:
        keys = session.get_credentials()
    except BotoCoreError as error:
        raise RequestError(
            "The keys of the profile cannot be had",
            got=scrub(str(error)),
            fix="correct it, or set AWS_PROFILE to another",
        ) from None
    if keys is None:
        raise RequestError(
            "There are no keys for S3",
            got="neither variables nor a profile",
            fix="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; for a bucket that anybody may read, "
            "AWS_SKIP_SIGNATURE=true",
        )
    return keys


def _checked(endpoint: str) -> str:
    """An endpoint without what does not belong there; it is shown in messages."""
    if "@" in endpoint or "?" in endpoint or "#" in endpoint:
        raise RequestError(
            "The endpoint of S3 holds more than a server, credentials perhaps",
            got="it is not repeated here",
            allowed="such as https://s3.example.org:9000",
            fix="correct AWS_ENDPOINT_URL, and give keys by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or a profile",
        )
    if not _is_server(endpoint):
        raise RequestError(
            "The endpoint of S3 is no URL",
            got=endpoint,
            allowed="such as https://s3.example.org:9000, or http:// for a server without TLS",
            fix="correct AWS_ENDPOINT_URL",
        )
    return endpoint.rstrip("/")


def _is_server(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, half a bracket
        return False
