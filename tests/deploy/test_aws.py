"""The CloudFormation template: linted, and who may do what by its policies."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from cfnlint.decode.cfn_yaml import load

from framecap.config import IngestConfig
from framecap.frames import FRAME_SUFFIXES, is_frame_key
from framecap.ingest import sqs
from tests.deploy.tools import DEPLOY, lint

TEMPLATE = DEPLOY / "aws" / "framecap.yaml"
FRAME = "arn:aws:s3:::frames/cams/door/2026/11/22/10/door-20261122T100000.000000Z-00000001.jpg"
SIDECAR = FRAME + ".json"
QUEUE = "arn:aws:sqs:::Queue"


@pytest.fixture(scope="module")
def resources() -> dict[str, Any]:
    found: dict[str, Any] = load(str(TEMPLATE))["Resources"]
    return found


def test_cfn_lint_has_nothing_to_say() -> None:
    lint("cfn-lint", "--include-checks", "W", "I", "--", TEMPLATE)


def arn(value: Any) -> str:
    """A resource as it would be: the bucket is named frames, the prefix cams."""
    if isinstance(value, str):
        return value
    if "Fn::GetAtt" in value:
        name, _ = value["Fn::GetAtt"]
        return "arn:aws:s3:::frames" if name == "Bucket" else f"arn:aws:sqs:::{name}"
    text: str = value["Fn::Sub"]
    return text.replace("${Bucket.Arn}", "arn:aws:s3:::frames").replace("${FramesPrefix}", "cams")


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def statements(resources: dict[str, Any], policy: str) -> Iterator[dict[str, Any]]:
    yield from resources[policy]["Properties"]["PolicyDocument"]["Statement"]


def may(resources: dict[str, Any], policy: str, action: str, resource: str) -> bool:
    return any(
        any(fnmatchcase(action, one) for one in listed(statement["Action"]))
        and any(fnmatchcase(resource, arn(one)) for one in listed(statement["Resource"]))
        for statement in statements(resources, policy)
    )


@pytest.mark.parametrize(
    ("policy", "action", "resource", "allowed"),
    [
        ("CapturePolicy", "s3:PutObject", FRAME, True),
        ("CapturePolicy", "s3:PutObject", SIDECAR, False),
        ("CapturePolicy", "s3:PutObject", "arn:aws:s3:::frames/elsewhere/a.jpg", False),
        ("CapturePolicy", "s3:GetObject", FRAME, False),
        ("CapturePolicy", "s3:ListBucket", "arn:aws:s3:::frames", False),
        ("WorkerPolicy", "s3:GetObject", FRAME, True),
        ("WorkerPolicy", "s3:GetObject", SIDECAR, True),
        ("WorkerPolicy", "s3:ListBucket", "arn:aws:s3:::frames", True),
        ("WorkerPolicy", "s3:PutObject", SIDECAR, True),
        ("WorkerPolicy", "s3:PutObject", FRAME, False),
        ("WorkerPolicy", "sqs:SendMessage", QUEUE, False),
        ("ReconcilePolicy", "s3:ListBucket", "arn:aws:s3:::frames", True),
        ("ReconcilePolicy", "s3:GetObject", FRAME, False),
        ("ReconcilePolicy", "sqs:SendMessage", QUEUE, True),
        ("ReconcilePolicy", "sqs:GetQueueAttributes", QUEUE, True),
        ("PrunePolicy", "s3:DeleteObject", FRAME, True),
        ("PrunePolicy", "s3:DeleteObject", SIDECAR, True),
        ("PrunePolicy", "s3:PutObject", FRAME, False),
        ("ScalePolicy", "sqs:GetQueueAttributes", QUEUE, True),
        ("ScalePolicy", "sqs:ReceiveMessage", QUEUE, False),
    ],
)
def test_who_may_do_what(resources: dict[str, Any], policy: str, action: str, resource: str, allowed: bool) -> None:
    assert may(resources, policy, action, resource) is allowed


def test_the_policies_allow_what_framecap_calls(resources: dict[str, Any]) -> None:
    """Batches need the right to the single call."""
    calls = set(re.findall(r"\._?\w+\.(\w+?)(?:_batch)?\(\s*QueueUrl=", Path(sqs.__file__).read_text()))
    actions = {call.title().replace("_", "") for call in calls}
    assert actions == {"ReceiveMessage", "DeleteMessage", "ChangeMessageVisibility", "GetQueueAttributes", "SendMessage"}
    for action in actions - {"SendMessage"}:
        assert may(resources, "WorkerPolicy", f"sqs:{action}", QUEUE), action
    for action in ("SendMessage", "GetQueueAttributes"):
        assert may(resources, "ReconcilePolicy", f"sqs:{action}", QUEUE), action


def test_only_who_prunes_may_delete_and_no_policy_says_everything(resources: dict[str, Any]) -> None:
    policies = [name for name, one in resources.items() if one["Type"] == "AWS::IAM::ManagedPolicy"]
    assert len(policies) == 5
    for policy in policies:
        assert may(resources, policy, "s3:DeleteObject", FRAME) is (policy == "PrunePolicy")
        actions = [action for statement in statements(resources, policy) for action in listed(statement["Action"])]
        assert not [action for action in actions if "*" in action]


def test_every_kind_of_frame_makes_an_event_and_no_sidecar_does(resources: dict[str, Any]) -> None:
    configurations = resources["Bucket"]["Properties"]["NotificationConfiguration"]["QueueConfigurations"]
    suffixes = []
    for configuration in configurations:
        prefix, suffix = configuration["Filter"]["S3Key"]["Rules"]
        assert prefix == {"Name": "prefix", "Value": {"Fn::Sub": "${FramesPrefix}/"}}
        suffixes.append(suffix["Value"])
    assert set(FRAME_SUFFIXES) <= set(suffixes)
    assert all(is_frame_key(f"door/a{suffix}") for suffix in suffixes)
    assert len(set(suffixes)) == len(suffixes)
    assert not [one for one in suffixes for other in suffixes if one != other and one.endswith(other)]  # S3 refuses those


def test_the_bucket_is_closed_and_survives_the_stack(resources: dict[str, Any]) -> None:
    bucket = resources["Bucket"]
    assert bucket["DeletionPolicy"] == bucket["UpdateReplacePolicy"] == "Retain"
    assert set(bucket["Properties"]["PublicAccessBlockConfiguration"].values()) == {True}
    assert bucket["Properties"]["BucketEncryption"]


def test_the_queue_is_what_the_worker_expects(resources: dict[str, Any]) -> None:
    parameters = load(str(TEMPLATE))["Parameters"]
    assert parameters["VisibilitySeconds"]["Default"] == IngestConfig().visibility_seconds
    assert parameters["MaxReceives"]["MinValue"] > 3  # the worker gives a frame up one receive before, never at the first
    redrive = resources["Queue"]["Properties"]["RedrivePolicy"]
    assert redrive["deadLetterTargetArn"] == {"Fn::GetAtt": ["DeadLetterQueue", "Arn"]}
