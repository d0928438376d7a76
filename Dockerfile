# syntax=docker/dockerfile:1
# The image: one binary on a base without a shell, as a user who is not root. tests/image runs the
# commands of the first stage as they stand here, and what they make in a root that is as bare as
# that of the second.

FROM rust:1.95-bookworm AS build
WORKDIR /src
# What a debugger reads is four fifths of the binary; the names in a backtrace stay.
ENV CARGO_PROFILE_RELEASE_STRIP=debuginfo
# The libraries first, in a layer that is made anew only when they change: the program stands empty
# beside them.
COPY Cargo.toml Cargo.lock ./
RUN mkdir -p src benches \
    && echo 'fn main() {}' >build.rs \
    && echo 'fn main() {}' >src/main.rs \
    && echo 'fn main() {}' >benches/decisions.rs \
    && echo 'fn main() {}' >benches/previews.rs \
    && touch src/lib.rs \
    && cargo build --release --locked --bin ambit
COPY . .
# The files that came may be older than what was built of the empty ones.
RUN touch build.rs src/main.rs src/lib.rs \
    && cargo build --release --locked --bin ambit

FROM gcr.io/distroless/cc-debian12:nonroot
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="ambit" \
      org.opencontainers.image.description="A policy decision point for CRM and marketing suites" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /src/LICENSE /usr/share/doc/ambit/LICENSE
COPY --from=build /src/target/release/ambit /usr/local/bin/ambit
USER 65532:65532
EXPOSE 50051 8080
# For who runs it without an orchestrator; one that has probes asks them and not this.
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
    CMD ["/usr/local/bin/ambit", "ready", "--url", "http://127.0.0.1:8080"]
ENTRYPOINT ["/usr/local/bin/ambit"]
CMD ["serve"]
