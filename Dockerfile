# The service in a container, from this repository alone. docs/deploy.md tells how to run it.
#   docker build --target exported -t mmdetr-exported .    for an exported file, without torch
#   docker build --target torch -t mmdetr .                for a config and a checkpoint
FROM python:3.11-slim-bookworm AS base
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN useradd --create-home --uid 10001 mmdetr
WORKDIR /home/mmdetr
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s CMD ["python", "-c", \
    "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health', timeout=4)"]

FROM base AS exported
COPY requirements/serve.txt /tmp/serve.txt
RUN pip install numpy pillow onnxruntime openvino -r /tmp/serve.txt
COPY . /tmp/mmdetr
# Without dependencies: those of training are not needed.
RUN pip install --no-deps /tmp/mmdetr && rm -rf /tmp/mmdetr
USER mmdetr
ENTRYPOINT ["mmdetr", "serve", "--host", "0.0.0.0"]

FROM base AS torch
# What the opencv of mmcv-lite loads.
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*
# For a GPU: --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN pip install torch torchvision --index-url ${TORCH_INDEX}
COPY . /tmp/mmdetr
RUN pip install '/tmp/mmdetr[serve]' && rm -rf /tmp/mmdetr
USER mmdetr
ENTRYPOINT ["mmdetr", "serve", "--host", "0.0.0.0"]
