"""What each kind of trouble with S3 means: at the start, later, and without a secret in it."""

from __future__ import annotations

import pytest
from botocore import exceptions as botocore_errors
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError
from urllib3.exceptions import ProtocolError

from framecap.errors import ConfigError, FramecapError, FrameUnreadable, KeyRefused, MissingError, StoreUnavailable
from framecap.stores.s3_errors import explain, guarded

ENDPOINT = "https://user:hidden@s3.example:9000/bucket?X-Amz-Credential=hidden&X-Amz-Signature=hidden"


def answer(code: str, status: int = 400, message: str = "", **error: str) -> ClientError:
    headers = {"HTTPStatusCode": status, "HTTPHeaders": {}}
    return ClientError({"Error": {"Code": code, "Message": message, **error}, "ResponseMetadata": headers}, "PutObject")  # type: ignore[typeddict-item]


ERRORS = [
    (answer("NoSuchBucket", 404), ConfigError, "no such bucket"),
    (answer("AccessDenied", 403, "User: arn:x is not authorized to perform: s3:ListBucket"), ConfigError, "arn:x is not"),
    (answer("InvalidAccessKeyId", 403), ConfigError, "refuses these credentials"),
    (answer("SignatureDoesNotMatch", 403), ConfigError, "look at access key, secret key"),
    (answer("ExpiredToken", 400), ConfigError, "aws sso login"),
    (answer("RequestTimeTooSkewed", 403), ConfigError, "clock is wrong"),
    (answer("PermanentRedirect", 301, Region="eu-west-1"), ConfigError, "store.s3.region: eu-west-1"),
    (answer("AuthorizationHeaderMalformed", 400), ConfigError, "set store.s3.region"),
    (answer("KMS.DisabledException", 400), ConfigError, "store.s3.kms_key"),
    (answer("InvalidStorageClass", 400), ConfigError, "store.s3.storage_class"),
    (answer("SlowDown", 503), StoreUnavailable, "overloaded"),
    (answer("InternalError", 500), StoreUnavailable, "trouble of its own"),
    (answer("XMinioStorageFull", 507), StoreUnavailable, "no space is left"),
    (answer("NeverHeardOf", 400, "password=hidden"), StoreUnavailable, "NeverHeardOf"),
    (botocore_errors.NoCredentialsError(), MissingError, "AWS_ACCESS_KEY_ID"),
    (botocore_errors.PartialCredentialsError(provider="env", cred_var="x"), MissingError, "no usable credentials"),
    (botocore_errors.UnauthorizedSSOTokenError(), MissingError, "renew the login"),
    (FileNotFoundError(2, "No such file or directory", "/var/run/token"), MissingError, "no usable credentials"),
    (RuntimeError("the refreshed credentials are still expired"), MissingError, "still expired"),
    (botocore_errors.ProfileNotFound(profile="mine"), ConfigError, "mine"),
    (botocore_errors.NoRegionError(), ConfigError, "region"),
    (
        botocore_errors.EndpointConnectionError(endpoint_url=ENDPOINT),
        StoreUnavailable,
        "https://s3.example:9000 does not answer",
    ),
    (botocore_errors.ReadTimeoutError(endpoint_url=ENDPOINT), StoreUnavailable, "does not answer"),
    (botocore_errors.ConnectTimeoutError(endpoint_url=ENDPOINT), StoreUnavailable, "does not answer"),
    (botocore_errors.SSLError(endpoint_url=ENDPOINT, error="x"), ConfigError, "AWS_CA_BUNDLE"),
    (botocore_errors.ResponseStreamingError(error="x"), StoreUnavailable, "does not answer"),
    (ProtocolError("broken"), StoreUnavailable, "does not answer"),
    (ResponseParserError("<html>"), StoreUnavailable, "no answer of an S3 server"),
]


@pytest.mark.parametrize(("error", "kind", "words"), ERRORS, ids=lambda value: type(value).__name__)
def test_outage_is_explained(error: Exception, kind: type[FramecapError], words: str) -> None:
    at_start = explain(error).at_start("s3://bucket/cams")
    assert type(at_start) is kind
    assert words in str(at_start)
    with pytest.raises(StoreUnavailable) as later, guarded("write", "s3://bucket/cams/a.jpg"):
        raise error
    assert words in str(later.value)
    assert "s3://bucket/cams/a.jpg" in str(later.value)
    assert later.value.__suppress_context__, "nothing of botocore is shown"
    assert "hidden" not in f"{at_start}{later.value}"


@pytest.mark.parametrize(("code", "kind"), [("KeyTooLongError", KeyRefused), ("InvalidObjectState", FrameUnreadable)])
def test_outage_with_one_key_is_no_outage(code: str, kind: type[FramecapError]) -> None:
    with pytest.raises(kind, match=r"cam/a\.jpg"), guarded("read", "s3://bucket/cam/a.jpg"):
        raise answer(code)
