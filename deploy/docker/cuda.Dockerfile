# The worker for NVIDIA GPUs (needs the NVIDIA Container Toolkit on the host):
#   docker build -f deploy/docker/cuda.Dockerfile -t framecap-worker-cuda .
#   docker run --gpus 1 --read-only --tmpfs /tmp:exec ... framecap-worker-cuda
# exec: Triton compiles the attention's kernel when the worker starts, and loads what it has compiled from there.

# No CUDA image below: PyTorch's wheels bring the CUDA libraries they were built with, and the host brings the driver. A
# second set of them would be 3 GB more and could differ.
FROM python:3.11.14-slim-bookworm AS build
WORKDIR /source
COPY LICENSE NOTICE README.md pyproject.toml setup.cfg ./
COPY framecap framecap
COPY train train
RUN python -m venv /opt/framecap \
    && /opt/framecap/bin/pip install --no-cache-dir ".[gpu]"

FROM python:3.11.14-slim-bookworm AS worker
# Triton's compiler. No versions: Debian keeps one of each in a release, so that a pinned one would soon be gone.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
RUN mkdir -p /var/lib/framecap && chown 10001:10001 /var/lib/framecap
COPY --from=build /opt/framecap /opt/framecap
ENV PATH=/opt/framecap/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    FRAMECAP__CAPTIONING__RUNTIME=torch \
    FRAMECAP__TELEMETRY__HOST=0.0.0.0 \
    FRAMECAP__TELEMETRY__PORT=9464
USER 10001:10001
WORKDIR /var/lib/framecap
ENTRYPOINT ["framecap"]
CMD ["work"]
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:9464/livez', timeout=4)"]
