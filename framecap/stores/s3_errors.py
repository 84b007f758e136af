"""What S3, or the way to it, says in; what it means, and what to do about it, out. Nothing of botocore goes further."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, SSLError
from botocore.exceptions import ConnectionError as NoConnection
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from framecap.errors import ConfigError, FramecapError, FrameUnreadable, KeyRefused, MissingError, StoreUnavailable
from framecap.telemetry import mask, store_errors

# botocore lets through what goes wrong while credentials are renewed: a token's file that is gone, a program that does not
# start (OSError), a renewal that gives old ones (RuntimeError)
CLIENT_ERRORS = (BotoCoreError, ClientError, ResponseParserError, HTTPError, OSError, RuntimeError)

EXISTS, CONFLICT, NOT_IMPLEMENTED = 412, 409, 501  # answers to a conditional write
DENIED = 403  # to any request
_TEMPORARY = (408, 429)
_CONDITIONS = re.compile(r"if-(none-)?match|condition|not implemented|unsupported|implies functionality", re.IGNORECASE)

_MAX_MESSAGE = 300  # characters of what the server says


@dataclass(frozen=True, slots=True)
class Explanation:
    """What was wrong, what to do, and which error that is when the store is opened (later it is StoreUnavailable)."""

    reason: str
    advice: str
    kind: type[FramecapError] = StoreUnavailable

    def at_start(self, where: str) -> FramecapError:
        return self.kind(f"{where}: {self.reason}: {self.advice}")

    def later(self, operation: str, where: str) -> StoreUnavailable:
        return StoreUnavailable(f"cannot {operation} at {mask(where)[:300]!r}: {self.reason}: {self.advice}")


_DENIED = Explanation(
    "access denied",
    "give these credentials s3:ListBucket on the bucket, s3:GetObject and s3:PutObject on its objects (to prune: "
    "s3:DeleteObject), and the use of its KMS key if it has one",
    ConfigError,
)
_UNKNOWN_CREDENTIALS = Explanation(
    "the server refuses these credentials", "look at access key, secret key and store.s3.endpoint", ConfigError
)
_EXPIRED = Explanation("the credentials have expired", "renew them (aws sso login, or a new session token)", ConfigError)
_BUSY = Explanation("the server is overloaded or has trouble of its own", "it is tried again")
_KMS = Explanation("the encryption key cannot be used", "look at store.s3.kms_key and at who may use that key", ConfigError)

_CODES = {
    "NoSuchBucket": Explanation("there is no such bucket", "create it, or correct the address", ConfigError),
    "AccessDenied": _DENIED,
    "AllAccessDisabled": _DENIED,
    "Forbidden": _DENIED,
    "403": _DENIED,
    "InvalidAccessKeyId": _UNKNOWN_CREDENTIALS,
    "SignatureDoesNotMatch": _UNKNOWN_CREDENTIALS,
    "InvalidToken": _UNKNOWN_CREDENTIALS,
    "InvalidSecurity": _UNKNOWN_CREDENTIALS,
    "UnauthorizedAccess": _UNKNOWN_CREDENTIALS,
    "401": _UNKNOWN_CREDENTIALS,
    "ExpiredToken": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    "RequestTimeTooSkewed": Explanation("this machine's clock is wrong", "set it (NTP)", ConfigError),
    "InvalidStorageClass": Explanation("there is no such storage class", "correct store.s3.storage_class", ConfigError),
    "QuotaExceeded": Explanation("the quota is used up", "free some space there"),
    "XMinioStorageFull": Explanation("no space is left there", "free some"),
    "507": Explanation("no space is left there", "free some"),
}
_NEVER_ONE = ("SlowDown", "RequestTimeout", "NoSuchBucket", "PermanentRedirect", "AuthorizationHeaderMalformed")
_OTHER_REGION = ("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "301")


def status_of(error: ClientError) -> int:
    """The HTTP status of an answer that is an error."""
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)


def code_of(error: ClientError) -> str:
    return error.response.get("Error", {}).get("Code", "")


def was_retried(error: ClientError) -> bool:
    """Whether this is the answer to a further try: an earlier one may have been done, and only its answer was lost."""
    return error.response.get("ResponseMetadata", {}).get("RetryAttempts", 0) > 0


def wants_checksum(error: ClientError) -> bool:
    """Whether the server refuses a request for the checksum that it lacks (Content-MD5, or x-amz-checksum-*)."""
    message = error.response.get("Error", {}).get("Message", "").lower()
    return status_of(error) == 400 and ("content-md5" in message or "md5" in code_of(error).lower() or "checksum" in message)


def is_missing(error: ClientError) -> bool:
    """Whether there is no such object (in a bucket that is there, as far as the answer tells)."""
    return status_of(error) == 404 and code_of(error) != "NoSuchBucket"


def refuses_conditions(error: ClientError) -> bool:
    """Whether a server answers a conditional write with that it knows none: 501, or 400 with words of its own."""
    if status_of(error) == NOT_IMPLEMENTED or code_of(error) == "NotImplemented":
        return True
    message = str(error.response.get("Error", {}).get("Message", ""))
    return status_of(error) == 400 and code_of(error) not in _CODES and _CONDITIONS.search(message) is not None


def is_about_one_object(error: Exception) -> bool:
    """Whether an answer may be about the one object that was asked for, and not about the bucket, the server or the login.

    The answer to a HEAD has no code: who may ask for another object tells whether it is so.
    """
    if not isinstance(error, ClientError):
        return False
    status, known = status_of(error), _CODES.get(code_of(error))
    if known is not None and known is not _DENIED:
        return False
    return 400 <= status < 500 and status not in _TEMPORARY and not is_missing(error) and code_of(error) not in _NEVER_ONE


@contextmanager
def guarded(operation: str, where: str) -> Iterator[None]:
    """Trouble of the block as StoreUnavailable, counted; KeyRefused and FrameUnreadable where it is about one key alone."""
    try:
        yield
    except CLIENT_ERRORS as error:
        code = code_of(error) if isinstance(error, ClientError) else ""
        if code in ("KeyTooLongError", "KeyTooLong"):
            raise KeyRefused(f"{where[:300]!a}: too long for this store: shorten the prefix or the name") from None
        if code == "InvalidObjectState":
            raise FrameUnreadable(f"{where[:300]!a}: it is archived: restore it first") from None
        store_errors.labels(operation=operation).inc()
        raise explain(error).later(operation, where) from None


def explain(error: Exception) -> Explanation:
    """What an exception of CLIENT_ERRORS means."""
    if isinstance(error, ClientError):
        return _explain_answer(error)
    name = type(error).__name__
    if isinstance(error, SSLError):
        return Explanation(
            "no secure connection (TLS)", "look at store.s3.endpoint; AWS_CA_BUNDLE names own certificates", ConfigError
        )
    if isinstance(error, (NoConnection, HTTPClientError, HTTPError)):
        url = urlsplit(str(getattr(error, "kwargs", {}).get("endpoint_url", "")))
        who = f"{url.scheme}://{url.hostname}:{url.port}" if url.port else url.hostname or "the server"
        return Explanation(f"{who} does not answer ({name})", "look at store.s3.endpoint and the network; it is tried again")
    if isinstance(error, ResponseParserError):
        return Explanation("this is no answer of an S3 server", "look at store.s3.endpoint; it is tried again")
    unforeseen = isinstance(error, (OSError, RuntimeError))
    if unforeseen or any(word in name for word in ("Credential", "SSO", "Token", "Login")):
        return Explanation(
            f"no usable credentials ({mask(str(error))[:_MAX_MESSAGE] if unforeseen else name})",
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, write ~/.aws/credentials, renew the login (aws sso login), or "
            "give this machine a role",
            MissingError,
        )
    return Explanation(mask(str(error))[:_MAX_MESSAGE] or name, "look at store.s3 and ~/.aws/config", ConfigError)


def _explain_answer(error: ClientError) -> Explanation:
    code, status = code_of(error), status_of(error)
    if wants_checksum(error):
        return Explanation(f"the server wants a checksum ({code})", "set store.s3.checksums: always")
    message = mask(str(error.response.get("Error", {}).get("Message", "")))[:_MAX_MESSAGE]
    if code.startswith("KMS"):
        return _KMS
    if code in _OTHER_REGION:
        region = error.response.get("Error", {}).get("Region") or error.response.get("ResponseMetadata", {}).get(
            "HTTPHeaders", {}
        ).get("x-amz-bucket-region")
        return Explanation(
            f"the bucket is in another region{f' ({region})' if region else ''}",
            f"set store.s3.region{f': {region}' if region else ' to the one where it is'}",
            ConfigError,
        )
    if code in _CODES:
        known = _CODES[code]
        return (
            Explanation(f"{known.reason} ({message})", known.advice, known.kind) if known is _DENIED and message else known
        )
    if status >= 500 or status == 429 or code in ("SlowDown", "RequestTimeout"):
        return Explanation(f"{_BUSY.reason} ({code})", _BUSY.advice)
    return Explanation(f"{code}: {message}", "it is tried again")
