# One image for server, workers, runs and the migration of Prefect's database.
ARG BASE=python:3.13-slim
FROM ${BASE}
# Where packages come from, when not from PyPI; an argument of the build alone.
ARG PIP_INDEX_URL
# Before the code, so that a change of code leaves this layer as it is.
COPY requirements-k8s.lock /opt/
RUN python3 -m venv --without-pip /opt/venv \
    && python3 -m pip --python /opt/venv/bin/python install --no-cache-dir \
        --disable-pip-version-check --require-hashes --no-deps --requirement /opt/requirements-k8s.lock
ENV PATH=/opt/venv/bin:$PATH PYTHONPATH=/app PYTHONUNBUFFERED=1 LANG=C.UTF-8
WORKDIR /app
COPY . .
# Files have the modes of the checkout, which nobody but its owner may read under a strict umask.
# Compiled here: the root file system of a pod can't be written. What the release registers is
# read from its flows once, too.
RUN chmod -R a+rX /app \
    && python -m compileall -q /app \
    && mkdir /release \
    && HOME=/tmp PREFECT_HOME=/tmp/prefect PYTHONTZPATH= PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW=ignore \
        python -m clinical_ai.adapters.prefect_yaml /app > /release/rendered.json \
    && rm -rf /tmp/*
USER 10001:10001
