# The service alone: the base install, no torch, no compiler, no package tools.
#
#   docker build --tag tumorlens .
#   docker run --rm --read-only --tmpfs /tmp --cap-drop ALL --publish 127.0.0.1:8000:8000 tumorlens

ARG PYTHON=3.13-slim-bookworm

FROM python:${PYTHON} AS build
WORKDIR /src
RUN ["python", "-m", "venv", "/opt/tumorlens"]
COPY LICENSE README.md constraints.txt pyproject.toml ./
COPY src src
RUN ["/opt/tumorlens/bin/python", "-m", "pip", "install", "--no-cache-dir", "--constraint", "constraints.txt", "."]
# The running image installs nothing, so it does not carry what could.
# hadolint ignore=DL3059
RUN ["/opt/tumorlens/bin/python", "-m", "pip", "uninstall", "--yes", "pip"]

FROM python:${PYTHON}
LABEL org.opencontainers.image.title="TumorLens" \
      org.opencontainers.image.description="Brain MRI tumour detection; a research tool, not for clinical use" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/tumorlens /opt/tumorlens
# Only /tmp is ever written to (metrics shared between workers), so the root may be read-only.
ENV PATH=/opt/tumorlens/bin:$PATH \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    TUMORLENS_HOST=0.0.0.0 \
    TUMORLENS_PORT=8000
WORKDIR /tmp
# A number, so that an orchestrator can see that it is not root.
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
ENTRYPOINT ["tumorlens"]
CMD ["serve"]
