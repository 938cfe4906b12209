"""Secrets are found in texts in each of their spellings, wherever they come from; what is no secret stays."""

from __future__ import annotations

import pytest

from xtlray import scrub as module
from xtlray.scrub import holds_secret, remember, scrub

SECRET = "wJalr/XUtn+FEMI=K7"


@pytest.mark.parametrize(
    "name",
    [
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN",
        "AZURE_STORAGE_ACCOUNT_KEY",
        "AZURE_STORAGE_SAS_TOKEN",
        "AZURE_CLIENT_SECRET",
        "GOOGLE_SERVICE_ACCOUNT_KEY",
        "RAY_AUTH_TOKEN",
    ],
)
@pytest.mark.parametrize("spelled", [SECRET, "wJalr/XUtn%2BFEMI%3DK7", "wJalr%2FXUtn%2BFEMI%3DK7"])
def test_what_the_environment_holds(name: str, spelled: str, no_aws: pytest.MonkeyPatch) -> None:
    no_aws.setenv(name, SECRET)
    assert scrub(f"at {spelled}, and <x>{spelled}</x>") == "at ***, and <x>***</x>"


@pytest.mark.parametrize(
    "name", ["AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_PROFILE", "HOME", "RAY_AUTH_TOKEN_PATH"]
)
def test_names_and_paths_are_no_secrets(name: str, no_aws: pytest.MonkeyPatch) -> None:
    no_aws.setenv(name, "AKIA-EXAMPLE")
    assert scrub("the key AKIA-EXAMPLE") == "the key AKIA-EXAMPLE"


def test_what_came_from_a_profile(no_aws: pytest.MonkeyPatch) -> None:
    no_aws.setattr(module, "_remembered", set())
    assert scrub("a profile's-secret") == "a profile's-secret"
    remember("profile's-secret", None, "")
    assert scrub("a profile's-secret") == "a ***"


def test_one_secret_within_another_leaves_nothing_of_it(no_aws: pytest.MonkeyPatch) -> None:
    no_aws.setenv("AWS_SECRET_ACCESS_KEY", "canary")
    no_aws.setenv("AWS_SESSION_TOKEN", "canary-and-more")
    assert scrub("canary-and-more") == "***"


def test_a_word_too_short_for_a_secret_does_not_eat_the_text(no_aws: pytest.MonkeyPatch) -> None:
    no_aws.setenv("AWS_SECRET_ACCESS_KEY", "b")
    assert scrub("bucket") == "bucket"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://h/c?sv=1&sig=aB%2Fc&se=2", "https://h/c?sv=1&sig=***&se=2"),
        ("x-amz-security-token:FwoG/Zl==\nhost:h", "x-amz-security-token:***\nhost:h"),
        ("{'X-Amz-Security-Token': 'FwoGZl', 'Host': 'h'}", "{'X-Amz-Security-Token': '***', 'Host': 'h'}"),
        ("Credential=A, Signature=0a1b, x", "Credential=A, Signature=***, x"),
        ("SignatureDoesNotMatch: no", "SignatureDoesNotMatch: no"),
        ("design=3", "design=3"),
    ],
)
def test_signatures(text: str, expected: str, no_aws: pytest.MonkeyPatch) -> None:
    assert scrub(text) == expected


def test_whether_a_text_holds_one(no_aws: pytest.MonkeyPatch) -> None:
    no_aws.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    assert holds_secret(f"a: {SECRET}")
    assert holds_secret("a=wJalr%2FXUtn%2BFEMI%3DK7")
    assert not holds_secret("sig=of-somebody-else")
