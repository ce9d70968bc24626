# syntax=docker/dockerfile:1
# The image of the proxy: see docs/deploy.md. tests/deploy runs these very steps without an engine.

# Both stages need the same Python: what is built for one is copied into the other.
FROM python:3.11-bookworm AS build
WORKDIR /build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore

# Everything from elsewhere comes here, and is compared with the lock's hashes.
COPY locks/run.txt locks/
RUN python -m pip wheel --quiet --require-hashes --no-deps --wheel-dir /wheels -r locks/run.txt

# The innermost loops are compiled; a failure of that ends the build.
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY src src
RUN STREAM_PROXY_COMPILE=1 python -m pip wheel --quiet --no-index --find-links /wheels --no-deps \
    --wheel-dir /wheels .

# Of the wheels only what runs: no compiler, no build tools, no pip.
RUN python -m venv --without-pip /opt/stream-proxy \
    && python -m pip --python /opt/stream-proxy/bin/python install --quiet \
    --no-index --find-links /wheels 'alpaca-stream-proxy[otel]' \
    && install -d -m 0700 -o 65532 -g 65532 /state


FROM python:3.11-slim-bookworm
LABEL org.opencontainers.image.title="alpaca-stream-proxy" \
      org.opencontainers.image.description="One Alpaca connection in, any number of consumers out." \
      org.opencontainers.image.licenses="MIT"

COPY --from=build /opt/stream-proxy /opt/stream-proxy
# A new volume takes owner and mode from what the image has in its place.
COPY --from=build --chown=65532:65532 /state /var/lib/alpaca-stream-proxy

# Bound wide, since a container's loopback can't be published. So `serve` asks for access tokens,
# and refuses to start without any.
ENV PATH="/opt/stream-proxy/bin:$PATH" \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    STREAM_PROXY_HOST=0.0.0.0 \
    STREAM_PROXY_STATE_DIR=/var/lib/alpaca-stream-proxy

# A number, so that Kubernetes can see that it isn't root.
USER 65532:65532
# Here `.env` is looked for, if anybody mounts one.
WORKDIR /var/lib/alpaca-stream-proxy
VOLUME /var/lib/alpaca-stream-proxy

# Streams, HTTP, metrics, gRPC.
EXPOSE 8099 8082 9090 50052

HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-Ic", "import urllib.request as web; web.urlopen('http://127.0.0.1:8082/healthz', None, 3)"]

STOPSIGNAL SIGTERM
ENTRYPOINT ["stream-proxy"]
CMD ["serve"]
