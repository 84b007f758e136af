"""A command that fills the queue in; the command run each time the queue is empty out. For stores that send no events.

Only then, because a ignore frames that are still waiting in the queue would put each of them there once more.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.exceptions import BotoCoreError, ClientError

COUNTS = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=float, required=True, help="seconds between two looks at the queue")
    parser.add_argument("command", nargs="+", help="what fills the queue")
    options = parser.parse_args()
    queue = os.environ["FRAMECAP__INGEST__QUEUE"]
    server = urlsplit(queue)
    client = boto3.client("sqs", endpoint_url=f"{server.scheme}://{server.netloc}")
    while True:
        try:
            if is_empty(client, queue):
                subprocess.run([*options.command, "--queue", queue], check=False)  # it says itself what went wrong
        except (BotoCoreError, ClientError) as error:
            sys.stderr.write(f"the queue does not answer: {error}\n")
        time.sleep(options.every)


def is_empty(client: Any, queue: str) -> bool:
    """Whether no message waits and none is leased by a worker."""
    counts = client.get_queue_attributes(QueueUrl=queue, AttributeNames=COUNTS)["Attributes"]
    return not any(int(counts[name]) for name in COUNTS)


if __name__ == "__main__":
    main()
