# One image for all roles: `minuet serve`, `matchmaker`, `worker`, `migrate up`. Runs without root, on a read-only root
# file system, and holds neither compiler nor pip's cache. The embedded servers for development are left out.

FROM python:3.13-slim AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/build && python -m venv --without-pip /opt/minuet
COPY requirements/build.txt requirements/image.txt /src/requirements/
RUN /opt/build/bin/python -m pip install --require-hashes --no-deps -r /src/requirements/build.txt \
    && /opt/build/bin/python -m pip --python /opt/minuet/bin/python install \
        --require-hashes --no-deps --only-binary :all: -r /src/requirements/image.txt
COPY . /src
RUN /opt/build/bin/python -m pip wheel --no-deps --no-build-isolation --wheel-dir /wheels /src \
    && /opt/build/bin/python -m pip --python /opt/minuet/bin/python install --no-deps --no-index /wheels/*.whl

FROM python:3.13-slim
RUN groupadd --system --gid 10001 minuet \
    && useradd --system --uid 10001 --gid minuet --no-create-home --home-dir /nonexistent \
        --shell /usr/sbin/nologin minuet
COPY --from=build /opt/minuet /opt/minuet
# Every address within the container: what the outside reaches is the orchestrator's decision.
ENV PATH=/opt/minuet/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    MINUET_HOST=0.0.0.0 MINUET_ADMIN_HOST=0.0.0.0
USER 10001:10001
WORKDIR /
EXPOSE 8080 9090
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 CMD ["python", "-m", "minuet", "healthcheck"]
ENTRYPOINT ["python", "-m", "minuet"]
CMD ["serve"]
