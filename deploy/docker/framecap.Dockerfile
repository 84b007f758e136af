# The CPU worker and the capture daemon, two targets of one file: they share all but the last lines.
#   docker build -f deploy/docker/framecap.Dockerfile --target worker -t framecap-worker .
#   docker build -f deploy/docker/framecap.Dockerfile --target capture -t framecap-capture .

# The Python that the tests run on; slim-bookworm: glibc 2.36, for which opencv's and onnxruntime's wheels are made.
FROM python:3.11.14-slim-bookworm AS build
WORKDIR /source
COPY LICENSE NOTICE README.md pyproject.toml setup.cfg ./
COPY framecap framecap
COPY train train
RUN python -m venv /opt/framecap \
    && /opt/framecap/bin/pip install --no-cache-dir .

FROM python:3.11.14-slim-bookworm AS framecap
# A number, not a name: Kubernetes' runAsNonRoot can see that it is not root. It owns nothing but the spool's place.
RUN mkdir -p /var/lib/framecap && chown 10001:10001 /var/lib/framecap
COPY --from=build /opt/framecap /opt/framecap
ENV PATH=/opt/framecap/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    FRAMECAP__TELEMETRY__HOST=0.0.0.0 \
    FRAMECAP__TELEMETRY__PORT=9464
USER 10001:10001
WORKDIR /var/lib/framecap
ENTRYPOINT ["framecap"]
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:9464/livez', timeout=4)"]

FROM framecap AS capture
CMD ["capture"]

FROM framecap AS worker
CMD ["work"]
