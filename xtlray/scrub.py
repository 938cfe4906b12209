"""Secrets stay out of what is shown or kept: those that this process knows are found in any text and hidden."""

from __future__ import annotations

import os
import re
from urllib.parse import quote, quote_plus

HIDDEN = "***"
_SHORTEST = 6  # a shorter secret would be found in every other word
_NAME = re.compile(r"(AWS|AZURE|GOOGLE|RAY)_.*(SECRET|TOKEN|KEY|SAS|PASSWORD)(?!.*_(ID|FILE|PATH|URI)$)")
# What signs a request, as servers repeat it in their refusals and Azure has it in its URLs.
_SIGNATURES = re.compile(
    r"((?:\bsig|x-amz-(?:signature|security-token|credential)|\bSignature)[\"']?[=:]\s*[\"']?)[^\s&\"'<>,]+",
    re.IGNORECASE,
)
_remembered: set[str] = set()


def remember(*secrets: str | None) -> None:
    """Hide these too from now on: keys that come from a profile and not from the environment."""
    _remembered.update(secret for secret in secrets if secret)


def scrub(text: str) -> str:
    """`text` without the secrets that this process knows, in whatever spelling, and without signatures."""
    for secret in _secrets():
        text = text.replace(secret, HIDDEN)
    return _SIGNATURES.sub(rf"\g<1>{HIDDEN}", text)


def holds_secret(text: str) -> bool:
    """Whether a secret that this process knows stands in `text`, in whatever spelling."""
    return any(secret in text for secret in _secrets())


def _secrets() -> list[str]:
    """Every secret in each of its spellings, the longest first: one may be a part of another."""
    found = {value for name, value in os.environ.items() if _NAME.match(name)} | _remembered
    found |= {spelled for value in found for spelled in (quote(value), quote(value, safe=""), quote_plus(value))}
    return sorted((value for value in found if len(value) >= _SHORTEST), key=len, reverse=True)
