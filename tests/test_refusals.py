"""Errors of the libraries underneath in a line that says what to do."""

from __future__ import annotations

import pytest
from obstore.exceptions import AlreadyExistsError, GenericError, UnauthenticatedError

from xtlray.refusals import UNKNOWN, cleaned, in_short, refusal, undecided

HEAD = "Generic S3 error: Error performing GET https://h/b/k in 2ms - "


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{HEAD}HTTP error: request failed\n\nDebug source:\nGeneric {{ {{\n", f"{HEAD}HTTP error: request failed"),
        (
            f"{HEAD}Server returned non-2xx status code: 400 Bad Request: <?xml version='1.0'?><Error><Code>Odd</Code>"
            "<Message>so it\nis</Message><Resource>/b/k</Resource></Error>\n\nDebug source:\nx",
            f"{HEAD}Server returned non-2xx status code: 400 Bad Request: Odd (so it is)",
        ),
        (
            f"{HEAD}Server returned non-2xx status code: 400 Bad Request: <Error><Code>Odd</Code>"
            "<Message>in C:\\data\\1</Message></Error>\n\nDebug",
            f"{HEAD}Server returned non-2xx status code: 400 Bad Request: Odd (in C:\\data\\1)",
        ),
        (
            "Kernel error\n  \x1b[31m↳\x1b[0m Generic S3 error\n   \x1b[31m↳\x1b[0m no",
            "Kernel error ↳ Generic S3 error ↳ no",
        ),
        ("  ", ""),
    ],
)
def test_an_error_in_one_line(text: str, expected: str) -> None:
    assert in_short(GenericError(text)) == (f"GenericError: {expected}" if expected else "GenericError")


def test_a_page_is_cut_in_its_middle() -> None:
    said = in_short(ValueError(f"begin {'x' * 5000} end"))
    assert len(said) < 350
    assert said.startswith("ValueError: begin")
    assert said.endswith("end")


@pytest.mark.parametrize(
    ("error", "what", "fix"),
    [
        (
            GenericError(f"{HEAD}HTTP error: error sending request\n\nDebug: InvalidCertificate(UnknownIssuer)"),
            "is not trusted",
            "SSL_CERT_FILE",
        ),
        (
            UnauthenticatedError("… for path External AWS credential provider: RequestError: expired\n\nDebug"),
            "cannot be renewed",
            "log in again",
        ),
        (
            GenericError(f"{HEAD}Received redirect without LOCATION, this normally indicates …\n\nDebug"),
            "another region",
            "AWS_REGION",
        ),
        (GenericError("of a kind that nobody has seen"), "could not read a key", UNKNOWN),
    ],
)
def test_what_to_do(error: Exception, what: str, fix: str) -> None:
    told = refusal(error, "read", "a/b", "s3://bucket")
    assert what in told.what
    assert fix in (told.fix or "")
    assert "s3://bucket" in (told.got or "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("non-2xx status code: 409 Conflict: <Error><Code>ConditionalRequestConflict</Code>", True),
        ("non-2xx status code: 409 Conflict: <Error><Code>BlobAlreadyExists</Code>", False),
        ("non-2xx status code: 412 Precondition Failed: <Error><Code>PreconditionFailed</Code>", False),
        ("Object at location /a/b already exists", False),
    ],
)
def test_a_race_without_a_winner(text: str, expected: bool) -> None:
    assert undecided(AlreadyExistsError(text)) is expected


class Odd(Exception):
    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} {two}")


def test_what_an_error_came_from_is_shown_without_secrets(no_aws: pytest.MonkeyPatch) -> None:
    no_aws.setenv("AWS_SECRET_ACCESS_KEY", "a-canary")
    harmless = ValueError("x")
    assert cleaned(harmless) is harmless
    assert repr(cleaned(GenericError("with a-canary"))) == repr(GenericError("with ***"))
    assert str(cleaned(Odd("with", "a-canary"))) == "Odd: with ***"
