# ullage in a container: `docker build --target cpu -t ullage:cpu .`, or `--target cuda` for a GPU.
# The last target, etcd, is what Milvus keeps its own state in; deploy/compose builds it too.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm
ARG ETCD_BASE=debian:trixie-slim

FROM ${PYTHON_IMAGE} AS build
ARG EXTRAS=otel,s3,postgres
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/ullage
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src src
RUN /opt/ullage/bin/pip install -c constraints.txt ".[${EXTRAS}]"

FROM build AS build-cuda
RUN /opt/ullage/bin/pip install -c constraints.txt ".[${EXTRAS},gpu]"

FROM ${PYTHON_IMAGE} AS base
# curl is what health checks of compose files run.
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates curl libgomp1 \
 && rm -rf /var/lib/apt/lists/*
ENV PATH=/opt/ullage/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/var/lib/ullage \
    ULLAGE_STATE_DIR=/var/lib/ullage ULLAGE_CACHE_DIR=/var/cache/ullage ULLAGE_HOST=0.0.0.0 ULLAGE_LOG_FORMAT=json
# Any uid may run it: what is written belongs to group 0, which every uid without a group of its own is in.
RUN mkdir -p /var/lib/ullage /var/cache/ullage && chgrp -R 0 /var/lib/ullage /var/cache/ullage \
 && chmod -R g=u /var/lib/ullage /var/cache/ullage
COPY --chmod=755 deploy/healthy /usr/local/bin/healthy
EXPOSE 1976 8081 8082 8090 8999 9080
VOLUME /var/lib/ullage
STOPSIGNAL SIGTERM
ENTRYPOINT ["ullage"]
CMD ["up"]

FROM base AS cpu
COPY --from=build /opt/ullage /opt/ullage
RUN ullage models pull --all && chmod -R g=u /var/cache/ullage
USER 10001:0
HEALTHCHECK --interval=10s --timeout=5s --start-period=180s --retries=3 CMD ["healthy", "8081"]

FROM base AS cuda
COPY --from=build-cuda /opt/ullage /opt/ullage
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
RUN ullage models pull --all && chmod -R g=u /var/cache/ullage
USER 10001:0
HEALTHCHECK --interval=10s --timeout=5s --start-period=300s --retries=3 CMD ["healthy", "8081"]

FROM ${ETCD_BASE} AS etcd
RUN apt-get update && apt-get install -y --no-install-recommends etcd-client etcd-server \
 && rm -rf /var/lib/apt/lists/* && mkdir -p /var/lib/etcd && chgrp -R 0 /var/lib/etcd && chmod -R g=u /var/lib/etcd
USER 10001:0
VOLUME /var/lib/etcd
ENTRYPOINT ["etcd"]
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=5 CMD ["etcdctl", "endpoint", "health"]
