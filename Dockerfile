FROM python:3.13-slim-bookworm

WORKDIR /srv
COPY requirements/service.lock requirements/
RUN pip install --no-cache-dir --only-binary :all: --require-hashes -r requirements/service.lock

COPY openapi.yaml ./
COPY sql sql
COPY session_service session_service

# The service's user owns no files, so that it cannot change its own code.
RUN useradd --system --uid 10001 --no-create-home session-service
USER 10001

ENV HOST=0.0.0.0 PORT=3005 PYTHONDONTWRITEBYTECODE=1
EXPOSE 3005
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
  CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/health/live', timeout=2)"]

CMD ["python", "-m", "session_service"]

# Last, so that another revision changes no layer above: docker build --build-arg REVISION=$(git rev-parse HEAD) .
ARG REVISION=
ENV REVISION=$REVISION
LABEL org.opencontainers.image.title="session-service" \
  org.opencontainers.image.description="The session service of a quiz platform: starts attempts, saves answers, never loses one." \
  org.opencontainers.image.version="2.1.0" \
  org.opencontainers.image.licenses="MIT" \
  org.opencontainers.image.revision="$REVISION"
