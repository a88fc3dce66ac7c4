# syntax=docker/dockerfile:1
# Reprise: one image for API, relay and worker, in a CPU and a CUDA build.
#
#   docker build --target cpu  -t reprise:cpu [--build-arg TORCH_INDEX_URL=…] .
#   docker build --target cuda -t reprise:cuda .
#
# Both install the same pins (constraints.txt). torch 2.13.0 brings its CUDA libraries along and runs
# on a CPU too; TORCH_INDEX_URL, PyTorch's index of CPU builds, makes the CPU image some GB smaller.

FROM python:3.11-slim-bookworm AS source
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY checkpoints checkpoints
COPY service service
COPY workers workers

FROM python:3.11-slim-bookworm AS build
# A compiler for what comes as source on some platforms; it stays out of the final image.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends build-essential \
 && rm -rf /var/lib/apt/lists/*
RUN python -m venv /opt/reprise
ENV PATH=/opt/reprise/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
COPY constraints.txt ./

FROM build AS build-cpu
ARG TORCH_INDEX_URL
RUN pip install --constraint constraints.txt torch==2.13.0 ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"}
COPY --from=source /src /src
RUN pip install --constraint constraints.txt .

FROM build AS build-cuda
RUN pip install --constraint constraints.txt torch==2.13.0
COPY --from=source /src /src
RUN pip install --constraint constraints.txt .

FROM python:3.11-slim-bookworm AS runtime
RUN groupadd --system --gid 10001 reprise \
 && useradd --system --uid 10001 --gid reprise --home-dir /var/lib/reprise --create-home reprise
ENV PATH=/opt/reprise/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    REPRISE_HOME=/var/lib/reprise \
    OMP_WAIT_POLICY=PASSIVE \
    GOMP_SPINCOUNT=0
VOLUME /var/lib/reprise
USER reprise
WORKDIR /var/lib/reprise
EXPOSE 8000
ENTRYPOINT ["reprise"]
CMD ["api", "--host", "0.0.0.0"]

FROM runtime AS cuda
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=build-cuda /opt/reprise /opt/reprise

# Last, so that a build without --target gives the image that runs anywhere.
FROM runtime AS cpu
COPY --from=build-cpu /opt/reprise /opt/reprise
