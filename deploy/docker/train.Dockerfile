# Training on NVIDIA's PyTorch container:
#   docker build -f deploy/docker/train.Dockerfile -t framecap-train .
#   docker run --gpus all --read-only --tmpfs /tmp:exec --shm-size 8g --user "$(id -u):$(id -g)" -v "$PWD/data:/data" framecap-train \
#       fit --data /data/caption_data --out /data/runs/x --amp apex

# It brings NVIDIA's Apex built for its own PyTorch, which no package index does. Python 3.12.
FROM nvcr.io/nvidia/pytorch:25.12-py3 AS train
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
WORKDIR /source
COPY LICENSE NOTICE README.md pyproject.toml setup.cfg ./
COPY framecap framecap
COPY train train
# On top of the container's own packages, and its torch and torchvision must stay: Apex fits no other.
RUN python3 -m venv --system-site-packages /opt/framecap \
    && python3 -m pip list --format=freeze | grep -E '^(torch|torchvision)==' > /tmp/keep.txt \
    && PIP_CONSTRAINT=/tmp/keep.txt /opt/framecap/bin/pip install --no-cache-dir ".[train]" \
    && /opt/framecap/bin/python -c "import apex.optimizers, cv2, torch, train; assert '.nv' in torch.__version__" \
    && rm /tmp/keep.txt
ENV PATH=/opt/framecap/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp
USER 10001:10001
WORKDIR /data
ENTRYPOINT ["python", "-m", "train"]
CMD ["--help"]
