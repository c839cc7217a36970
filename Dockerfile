# The image of Sallyport: one static binary and nothing else. No shell, no
# package, no CA bundle (the only CA that is trusted is the one that the
# operator mounts for Vault), no secret, no state.
#
#   docker build --build-arg SOURCE_DATE_EPOCH="$(git log -1 --format=%ct)" -t sallyport .
#
# The same commit gives the same binary, bit for bit, and with BuildKit's
# rewrite-timestamp=true the same image.

FROM golang:1.26 AS build
WORKDIR /src

# Modules change less often than code: this layer is reused until they do.
COPY go.mod go.sum ./
RUN go mod download && go mod verify

COPY . .
# -trimpath and an empty build id leave out where it was built; -buildvcs=true
# puts in from which commit, and fails without one.
ENV CGO_ENABLED=0 GOFLAGS=-mod=readonly GOTOOLCHAIN=local
RUN go build -trimpath -buildvcs=true -ldflags="-s -w -buildid=" -o /out/sallyport ./cmd/sallyport

# The time of a file is part of a layer.
ARG SOURCE_DATE_EPOCH=0
RUN touch --date="@${SOURCE_DATE_EPOCH}" /out/sallyport

FROM scratch
LABEL org.opencontainers.image.title="Sallyport" \
      org.opencontainers.image.description="An edge proxy that authenticates with SAML and trusts nothing but Vault" \
      org.opencontainers.image.source="https://github.com/sallyport/sallyport" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /out/sallyport /sallyport

# A number, because there is no /etc/passwd; orchestrators that demand a user
# other than root can see that it is one.
USER 65532:65532
EXPOSE 8443

# The default address is the gateway's; a sidecar sets SALLYPORT_HEALTH_URL.
# A start may wait two minutes for a Vault that is sealed.
HEALTHCHECK --interval=10s --timeout=5s --start-period=150s --retries=3 CMD ["/sallyport", "health"]
ENTRYPOINT ["/sallyport"]
