# One image, one process per container; the command chooses the role (docker-compose.yml).

FROM node:24-bookworm-slim AS dependencies
WORKDIR /app
# First only what npm reads: a change of source does not install again.
COPY package.json package-lock.json .npmrc ./
COPY apps/ingress/package.json apps/ingress/
COPY apps/worker/package.json apps/worker/
COPY packages/core/package.json packages/core/
COPY packages/embedded/package.json packages/embedded/
# An empty stand-in: npm would install what the tests' own package needs even with --omit=dev.
RUN mkdir -p packages/testing \
 && echo '{"name":"@switchhook/testing","version":"0.1.0"}' > packages/testing/package.json
# Optional are Node itself and the embedded Postgres, for machines without this image.
RUN npm ci --omit=dev --omit=optional --ignore-scripts

FROM node:24-bookworm-slim
WORKDIR /app
# Every container has an address of its own, so all roles may use one port; the health check must know it.
# Threads for DNS: a few name servers that hang hold up nobody else (docs/operations.md).
ENV NODE_ENV=production OPS_PORT=9464 UV_THREADPOOL_SIZE=32
COPY --from=dependencies /app ./
COPY packages packages
COPY apps apps
USER node
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=3 \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.OPS_PORT}/healthz`, { signal: AbortSignal.timeout(2500) }).then(({ ok }) => process.exit(ok ? 0 : 1), () => process.exit(1))"]
CMD ["node", "apps/ingress/src/main.ts"]
