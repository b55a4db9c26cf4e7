# Build: docker build -t lattice-server .
FROM rust:1.95-slim-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends build-essential cmake && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo build --release --locked -p lattice-server --bin lattice-server

FROM debian:bookworm-slim
# The system's certificate authorities, for TLS to PostgreSQL and Redis.
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --home-dir /data --create-home --shell /usr/sbin/nologin lattice
COPY --from=build /src/target/release/lattice-server /usr/local/bin/lattice-server
USER 10001
ENV HOST=0.0.0.0 PORT=8080 DATA_DIR=/data LOG_JSON=true
VOLUME /data
EXPOSE 8080
# Takes the port from the environment, and fails while the server is not ready.
HEALTHCHECK --interval=5s --timeout=4s --start-period=60s --retries=3 CMD ["lattice-server", "healthcheck"]
ENTRYPOINT ["lattice-server"]
