"""A bucket's name in; the bucket, made where it is missing, out. Waits for a server that is just starting."""

from __future__ import annotations

import os
import sys
import time

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

WAIT_SECONDS = 120


def main(bucket: str) -> None:
    endpoint = os.environ["FRAMECAP__STORE__S3__ENDPOINT"]
    client = boto3.client("s3", endpoint_url=endpoint, config=Config(s3={"addressing_style": "path"}))
    ends = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            if bucket not in {there["Name"] for there in client.list_buckets()["Buckets"]}:
                client.create_bucket(Bucket=bucket)
        except (BotoCoreError, ClientError) as error:
            if time.monotonic() > ends:
                sys.exit(f"the bucket {bucket!r} could not be made at {endpoint}: {error}")
            time.sleep(1)
        else:
            return


if __name__ == "__main__":
    main(sys.argv[1])
