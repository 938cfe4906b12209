"""Ray's client of the Jobs API, with a limit to how long an answer may take, and errors that a person can act on.

The one module here that imports Ray as it is imported itself, which takes a second: others import it late.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urljoin

import aiohttp  # comes with ray[default], as what Ray's own client follows logs with
from ray.exceptions import AuthenticationError
from ray.job_submission import JobSubmissionClient

from xtlray.errors import RequestError, WorkError
from xtlray.scrub import remember, scrub
from xtlray.submit.reach import ADDRESS
from xtlray.urls import expanded

for _noisy in ("ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk"):
    logging.getLogger(_noisy).setLevel(logging.WARNING)

CONNECT, ANSWER = 10.0, 60.0  # seconds until a connection must stand, and of silence after which no answer is expected
HEARTBEAT = 20.0  # seconds between two signs of life of a connection that logs come by
_TOKEN_FIX = (
    "set RAY_AUTH_TOKEN to the cluster's token, or RAY_AUTH_TOKEN_PATH to a file that holds it, or keep it in "
    "~/.ray/auth_token; on the head, `ray get-auth-token` prints it"
)
_CERTIFICATES = "REQUESTS_CA_BUNDLE"
_LONGEST = 300
# What requests' errors hold → what they mean.
_CAUSES = {
    "Connection refused": "connection refused",
    "Name or service not known": "no server of that name is known",
    "Failed to resolve": "no server of that name is known",
    "nodename nor servname": "no server of that name is known",
    "CERTIFICATE_VERIFY_FAILED": f"its certificate is not trusted ({_CERTIFICATES} names a file of those that are)",
    "WRONG_VERSION_NUMBER": "it does not speak TLS: is it http://?",
    "timed out": "no answer in time",
    "Connection aborted": "it closed the connection, perhaps since it speaks TLS: is it https://?",
}


class GoneError(WorkError):
    """Nobody answers at the address, now."""


class RefusedError(WorkError):
    """The cluster answered, and not with what was asked for. `status`: of HTTP."""

    def __init__(self, what: str, *, status: int = 0, **more: str | None) -> None:
        super().__init__(what, **more)
        self.status = status


class Client(JobSubmissionClient):
    """The Jobs API of one cluster.

    Args:
        address: of its dashboard.

    Raises:
        RequestError: that is no Ray dashboard, or it wants another token.
        GoneError: nobody answers there.
    """

    def __init__(self, address: str) -> None:
        self.where = address
        self._token_from, headers = _token()
        trusted = os.environ.get(_CERTIFICATES)
        try:
            with _nothing_but(address):
                super().__init__(address, headers=headers, verify=trusted or True)
        except OSError as error:  # those of requests have been put in our words
            raise RequestError(
                "The certificates that are trusted cannot be read",
                got=f"{_CERTIFICATES}={trusted}: {error}",
                fix=f"correct {_CERTIFICATES}, or unset it",
            ) from None

    def _do_request(self, method: str, endpoint: str, **more: Any) -> Any:
        """As Ray's, which all of its requests go through; it waits for ever, and takes any page for an answer."""
        if self._token_from is None:  # Ray adds one that this process had for a Ray of its own
            for name in [name for name in self._headers if name.lower() == "authorization"]:
                del self._headers[name]
        try:
            answer = super()._do_request(method, endpoint, timeout=(CONNECT, ANSWER), allow_redirects=False, **more)
        except AuthenticationError as error:
            raise self._unauthorized(error) from None
        except OSError as error:  # so are all errors of requests
            raise self._gone(error) from None
        if answer.is_redirect:
            raise RequestError(
                "The cluster's address leads elsewhere",
                got=f"{self.where} leads to {urljoin(self.where, answer.headers['location'])}",
                fix="give that to --address, without the path that was asked for, if it is the cluster's",
            )
        is_version = endpoint == "/api/version"
        if answer.status_code >= 500 and (is_version or _is_page(answer)):
            raise self._gone(OSError(f"{answer.status_code} {answer.reason}"))
        if _is_page(answer) or (is_version and not _has_version(answer)):
            kind = answer.headers.get("content-type", "no content type")
            raise self._no_dashboard(f"{answer.status_code}, {kind}")
        return answer

    def _raise_error(self, answer: Any) -> None:
        """As Ray's, of an answer that is none: its text may be a traceback, of which the last line says it."""
        lines = [line for line in answer.text.splitlines() if any(map(str.isalnum, line))]  # Ray puts a dot below
        said = scrub(lines[-1].strip() if lines else answer.reason or "no text")[:_LONGEST]
        raise RefusedError(
            "The cluster could not do that",
            got=f"{self.where}: {answer.status_code}, {said}",
            status=answer.status_code,
        )

    def has_package(self, uri: str) -> bool:
        """Whether the cluster keeps that archive; it goes on doing so for the next minutes."""
        return bool(self._package_exists(uri))

    def put_package(self, uri: str, data: bytes) -> None:
        """Give the cluster an archive under a URI that ends in its hash."""
        answer = self._do_request("PUT", "/api/packages/" + uri.replace("://", "/"), data=data)
        if answer.status_code != 200:
            self._raise_error(answer)

    async def tail(self, job: str) -> AsyncIterator[str]:
        """A job's log from its beginning, as it grows; ends where the job does.

        Raises:
            GoneError: the connection was lost, or did not come about.
        """
        url = f"{self._address}/api/jobs/{quote(job, safe='')}/logs/tail"
        patience = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT)
        try:
            async with (
                aiohttp.ClientSession(headers=self._headers, timeout=patience, trust_env=True) as session,
                session.ws_connect(url, heartbeat=HEARTBEAT, max_msg_size=0, ssl=self._ssl_context or True) as socket,
            ):
                async for message in socket:
                    if message.type == aiohttp.WSMsgType.TEXT:
                        yield message.data
                if socket.close_code != aiohttp.WSCloseCode.OK:
                    raise self._gone(OSError(f"the log's connection was closed with code {socket.close_code}"))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._gone(error) from None

    def _gone(self, error: Exception) -> GoneError:
        text = str(error)
        known = next((said for part, said in _CAUSES.items() if part in text), None)
        return GoneError(
            "The cluster does not answer",
            got=f"{self.where}: {known or scrub(' '.join(text.split())[:_LONGEST]) or type(error).__name__}",
            fix="see that its head is up and that --address is its dashboard's, usually port 8265; from outside of its "
            "network, through a tunnel: ssh -L 8265:127.0.0.1:8265 HEAD, then --address http://127.0.0.1:8265",
        )

    def _no_dashboard(self, answer: str) -> RequestError:
        return RequestError(
            "What answers at that address is no Ray dashboard",
            got=f"{self.where}: {answer}",
            fix="give --address the address of the dashboard of a Ray cluster, usually http://HEAD:8265",
        )

    def _unauthorized(self, error: AuthenticationError) -> RequestError:
        refused = error.message.startswith("Authentication failed")  # 403, and not 401
        if "<html" in error.message.lower():  # of what stands before the cluster, or instead of it
            return self._no_dashboard(f"{403 if refused else 401}, a page that asks for a login")
        sent = f"the token of {self._token_from}" if self._token_from else "none"
        return RequestError(
            "The cluster refuses the token" if refused else "The cluster asks for a token",
            got=f"{self.where}: {403 if refused else 401}, sent was {sent}",
            fix=_TOKEN_FIX,
        )


def _token() -> tuple[str | None, dict[str, str]]:
    """Where the cluster's token was found, and the header that carries it, as Ray looks for it.

    Ray's client itself sends one only where RAY_AUTH_MODE=token is set too, and else is answered 401.

    Raises:
        RequestError: the file that is named cannot be read, or there is none where RAY_AUTH_MODE says that there is.
    """
    mode = os.environ.get("RAY_AUTH_MODE")
    if mode is not None and mode.lower() != "token":
        return None, {}
    path = os.environ.get("RAY_AUTH_TOKEN_PATH")
    usual = Path.home() / ".ray" / "auth_token"
    if os.environ.get("RAY_AUTH_TOKEN"):
        where, token = "RAY_AUTH_TOKEN", os.environ["RAY_AUTH_TOKEN"]
    elif path:
        where, token = f"RAY_AUTH_TOKEN_PATH={path}", _read(expanded(path))
    elif usual.is_file():
        where, token = str(usual), _read(usual)
    elif mode is None:
        return None, {}
    else:
        raise RequestError("There is no token for the cluster", got=f"RAY_AUTH_MODE={mode}", fix=_TOKEN_FIX)
    token = token.strip()
    if not token:
        raise RequestError("The token for the cluster is empty", got=where, fix=_TOKEN_FIX)
    if not (token.isascii() and token.isprintable()):  # several lines, or an ellipsis out of some instructions
        raise RequestError("The token for the cluster is none", got=f"{where}, not one line of ASCII", fix=_TOKEN_FIX)
    remember(token)
    return where, {"Authorization": f"Bearer {token}"}


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError("The file of the token cannot be read", got=f"{path}: {error}", fix=_TOKEN_FIX) from None


@contextmanager
def _nothing_but(address: str) -> Iterator[None]:
    """Ray lets its own variable decide over the address that it is given: so it says the same, for a moment."""
    before = os.environ.get(ADDRESS)
    os.environ[ADDRESS] = address
    try:
        yield
    finally:
        if before is None:
            del os.environ[ADDRESS]
        else:
            os.environ[ADDRESS] = before


def _is_page(answer: Any) -> bool:
    """Whether it is a page for people: of a login, a proxy, or of a server that is no dashboard."""
    return "html" in answer.headers.get("content-type", "")


def _has_version(answer: Any) -> bool:
    try:
        return "ray_version" in answer.json()
    except (ValueError, TypeError):
        return False
