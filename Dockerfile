# Two images:  docker build --target service .   and   docker build --target worker .
# The build stages create a virtual environment. Each image is a slim Python with that environment and the code.
ARG PYTHON_VERSION=3.11

FROM python:${PYTHON_VERSION}-slim AS build-service
# Extra pip arguments for torch, for example: --build-arg TORCH_ARGS="--index-url <a CPU-only index>"
ARG TORCH_ARGS=
ARG TORCH_VERSION=2.13.0
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# The environment has no pip of its own: the pip of this stage installs into it.
RUN python -m venv --without-pip /opt/venv
RUN pip --python /opt/venv/bin/python install ${TORCH_ARGS} "torch==${TORCH_VERSION}"
COPY pyproject.toml README.md LICENSE /src/
COPY clients/python/promptatlas /src/clients/python/promptatlas
RUN pip --python /opt/venv/bin/python install "/src[dev-service,dev-s3,dev-otel,gguf]"

FROM build-service AS build-worker
RUN pip --python /opt/venv/bin/python install "/src[dev-workers,dev-s3,dev-otel,gguf]"

FROM python:${PYTHON_VERSION}-slim AS runtime
RUN useradd --uid 10001 --create-home atlas && mkdir /data && chown atlas /data
# umap compiles with numba, whose cache must be writable.
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    PROMPTATLAS_HOME=/data PROMPTATLAS_LOG=json NUMBA_CACHE_DIR=/tmp/numba
WORKDIR /app
USER atlas
VOLUME /data

FROM runtime AS service
COPY --from=build-service /opt/venv /opt/venv
COPY service /app/service
COPY demo/model /app/demo/model
COPY demo/data /app/demo/data
COPY clients/web /app/clients/web
# It listens on all addresses, so it starts only with PROMPTATLAS_API_KEYS or PROMPTATLAS_API_KEYS_FILE. Workers are the other image.
ENV PROMPTATLAS_HOST=0.0.0.0 PROMPTATLAS_PORT=8000 PROMPTATLAS_WORKERS=0
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f'http://127.0.0.1:{os.environ[\"PROMPTATLAS_PORT\"]}/health', timeout=2)"]
CMD ["python", "-m", "service"]

FROM runtime AS worker
COPY --from=build-worker /opt/venv /opt/venv
COPY service /app/service
COPY workers /app/workers
COPY demo/model /app/demo/model
COPY demo/data /app/demo/data
ENV PROMPTATLAS_REDIS_URL=redis://redis:6379/0
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s CMD ["python", "-m", "workers", "--check"]
CMD ["python", "-m", "workers"]
