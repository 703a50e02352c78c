# The image of `DockerExecutor` sessions: any python3 (3.11 or later) with the packages that sessions may import.
ARG BASE=python:3.12-slim
FROM ${BASE}
ARG PACKAGES="numpy sympy"
RUN if [ -n "${PACKAGES}" ]; then python3 -m pip install --no-cache-dir ${PACKAGES}; fi
USER 65534:65534
