"""What an object store's errors mean, in a line that a person can act on; obstore's own fill a page."""

from __future__ import annotations

import re

from xtlray.errors import StoreError
from xtlray.scrub import scrub

UNKNOWN = "check that the store's URL, credentials, free space and permissions are right"  # for want of better
_LONGEST = 300
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")  # of delta-rs
_XML = re.compile(r"(?:<\?xml[^>]*>\s*)?<(?:\w+:)?Error\b.*", re.DOTALL)
_CODE = re.compile(r"<Code>\s*([^<]+?)\s*</Code>|DeleteObjects request failed for .* \(code: (\w+)\)")
_MESSAGE = re.compile(r"<Message>\s*([^<]+?)\s*</Message>")
_STATUS = re.compile(r"non-2xx status code: (\d{3})")
# obstore takes every 409 for a key that is there. Amazon's 409 says: try again. Azure's does mean that it is there.
_UNDECIDED = re.compile(r"non-2xx status code: 409\b.*(ConditionalRequestConflict|OperationAborted)", re.DOTALL)
_CERTIFICATE = "InvalidCertificate("
_TRUST = "set SSL_CERT_FILE to a file that holds the certificate of the authority that signed the server's"
_PROVIDER = "External AWS credential provider"  # ours failed: credentials.py
# Of connections that were not made, obstore's line says nothing; what follows it does.
_CAUSES = {
    r"dns error|failed to lookup address": "no server of that name is known",
    r"Connection refused": "connection refused",
    re.escape(_CERTIFICATE): "its certificate is not trusted",
    r"[Tt]imed ?[Oo]ut": "no answer in time",
    r"InvalidMessage\(\s*InvalidContentType": "it does not speak TLS: is it http://?",
}
_REDIRECT = "Received redirect without LOCATION"
_KEYS = (
    "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or the profile that AWS_PROFILE names; that "
    "they belong to the server at AWS_ENDPOINT_URL (Amazon's if it is not set)"
)
_BUCKET = (
    "make the bucket, correct --store or XTLRAY_STORE, or name the server that has it by AWS_ENDPOINT_URL (Amazon's if "
    "it is not set)"
)
# Codes or statuses → what they mean, and what to do.
_MEANINGS: tuple[tuple[frozenset[str], str, str], ...] = (
    (frozenset({"NoSuchBucket", "ContainerNotFound"}), "There is no such bucket", _BUCKET),
    (
        frozenset({"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "InvalidClientTokenId", "401"}),
        "The store does not accept the keys",
        _KEYS,
    ),
    (
        frozenset({"ExpiredToken", "TokenRefreshRequired"}),
        "The keys of the store have expired",
        "log in again, or set new keys",
    ),
    (
        frozenset({"RequestTimeTooSkewed"}),
        "The clocks of the store and of this machine differ",
        "set this machine's clock",
    ),
    (
        frozenset({"AuthorizationHeaderMalformed", "PermanentRedirect", "301", "307", _REDIRECT}),
        "The bucket lies in another region",
        "set AWS_REGION to the bucket's region",
    ),
    (
        frozenset({"AccessDenied", "AllAccessDisabled", "403"}),
        "The store refuses access",
        f"{_KEYS}; and that they may list, read, write and delete in this bucket",
    ),
    (
        frozenset({"NotImplemented", "501"}),
        "The store cannot do what is needed",
        "use one that honours If-None-Match, such as S3, GCS, Azure, Ceph or a folder; `xtlray store check` tells",
    ),
    (frozenset({"QuotaExceeded", "507"}), "The store has no room left", "free some room, or raise the quota"),
)


def in_short(error: BaseException) -> str:
    """An error in one line, without secrets and without what obstore adds for those who mend obstore."""
    text = str(error)
    line = " ".join(_COLOUR.sub("", text.strip().split("\n\n")[0]).split())
    if not line:
        return type(error).__name__
    line = _XML.sub(lambda _: _code(text), line).strip()  # a function: in a text, what is behind \\ has a meaning
    if "HTTP error" in line:
        line += next((f" ({said})" for pattern, said in _CAUSES.items() if re.search(pattern, text)), "")
    line = scrub(line)
    if len(line) > _LONGEST:
        line = f"{line[: _LONGEST // 2]} … {line[-_LONGEST // 2 :]}"
    return f"{type(error).__name__}: {line}"


def refusal(error: BaseException, verb: str, key: str, where: str) -> StoreError:
    """What to raise for a call that the store refused.

    Args:
        error: obstore's.
        verb: what was to be done with `key`.
        where: the store, for people.
    """
    text = str(error)
    if _PROVIDER in text:
        return StoreError(
            "The keys of the store cannot be renewed", got=f"{where}: {in_short(error)}", fix="log in again"
        )
    if _CERTIFICATE in text:
        return StoreError("The server of the store is not trusted", got=f"{where}: {in_short(error)}", fix=_TRUST)
    code, status = _code_word(text), _STATUS.search(text)
    call = f"could not {verb} {key or 'anything'} in {where}"
    # The server's own code says more than a status that many errors share.
    words = [code, _REDIRECT if _REDIRECT in text else "", status[1] if status else ""]
    for word in words:
        for codes, what, fix in _MEANINGS:
            if word in codes:
                said = " ".join(each for each in (words[2], words[0]) if each) or word
                return StoreError(what, got=f"{call}: {scrub(said)}", fix=fix)
    return StoreError(
        f"The store could not {verb} a key",
        got=f"{key + ' in ' if key else ''}{where}: {in_short(error)}",
        fix=UNKNOWN,
    )


def undecided(error: BaseException) -> bool:
    """Whether a create-once met another request for its key that had not come to its end: nobody may have won."""
    return _UNDECIDED.search(str(error)) is not None


def names_no_bucket(error: BaseException) -> bool:
    """Whether the error says that the bucket is missing, and not only the key."""
    return _code_word(str(error)) in ("NoSuchBucket", "ContainerNotFound")


def cleaned(error: BaseException) -> BaseException:
    """`error`, or one of its type without the secrets that stood in it: tracebacks show what an error came from."""
    text = str(error)
    clean = scrub(text)
    if clean == text:
        return error
    try:
        return type(error)(clean)
    except TypeError:  # a type with parameters of its own
        return RuntimeError(f"{type(error).__name__}: {clean}")


def _code(text: str) -> str:
    message = _MESSAGE.search(text)
    return _code_word(text) + (f" ({' '.join(message[1].split())})" if message else "")


def _code_word(text: str) -> str:
    """The server's own word for an error; nothing where it has none."""
    found = _CODE.search(text)
    return (found[1] or found[2]) if found else ""
