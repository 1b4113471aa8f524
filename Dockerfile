# syntax=docker/dockerfile:1
#
#   docker build -t cegid-indexer .                              the service
#   docker build -t cegid-simulator --target simulator .         a Cegid tenant to try it with

FROM rust:1.95-bookworm AS manifests
WORKDIR /build
ENV CARGO_TARGET_DIR=/build/target CARGO_TERM_COLOR=never
COPY .cargo .cargo
COPY Cargo.toml Cargo.lock ./
COPY bench/Cargo.toml bench/
COPY chaos/Cargo.toml chaos/
COPY fault-proxy/Cargo.toml fault-proxy/
COPY private-postgres/Cargo.toml private-postgres/
COPY simulator/Cargo.toml simulator/
# Empty crates in the place of ours: with them the dependencies are built in a layer that only a change of a manifest or
# of the lock file makes anew. A workspace wants all its members, also those that no image holds.
RUN for member in . bench chaos fault-proxy private-postgres simulator; do \
      mkdir -p $member/src && touch $member/src/lib.rs && echo 'fn main() {}' > $member/src/main.rs; \
    done

FROM manifests AS service-build
RUN cargo build --release --locked --no-default-features -p cegid-indexer
COPY config config
COPY migrations migrations
COPY .sqlx .sqlx
COPY src src
# What was copied is older than what was built from the empty crate, and Cargo goes by time.
RUN touch src/lib.rs src/main.rs \
    && cargo build --release --locked --no-default-features -p cegid-indexer

FROM manifests AS simulator-build
RUN cargo build --release --locked -p cegid-simulator
COPY simulator simulator
RUN touch simulator/src/lib.rs simulator/src/main.rs \
    && cargo build --release --locked -p cegid-simulator

FROM gcr.io/distroless/cc-debian12:nonroot AS simulator
COPY --from=simulator-build /build/target/release/cegid-simulator /usr/local/bin/
EXPOSE 8600
# It ends on Ctrl-C alone.
STOPSIGNAL SIGINT
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s \
  CMD ["/usr/local/bin/cegid-simulator", "--healthcheck"]
ENTRYPOINT ["/usr/local/bin/cegid-simulator"]
CMD ["--listen", "0.0.0.0:8600"]

# distroless/cc rather than debian-slim: the binary needs glibc, libgcc and CA certificates, and this holds them, a /tmp
# and the user 65532, with neither a shell nor a package manager to keep patched. It is Debian 12 as the builder is, so
# that glibc is the same.
FROM gcr.io/distroless/cc-debian12:nonroot AS service
COPY --from=service-build /build/target/release/cegid-indexer /usr/local/bin/
# Loopback inside the container is out of reach; whoever publishes the port decides who sees it. See docker-compose.yml.
ENV CEGID_INDEXER__OPS__BIND=0.0.0.0:9090
EXPOSE 8080 9090
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
  CMD ["/usr/local/bin/cegid-indexer", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/cegid-indexer"]
CMD ["serve"]
