# Sallyport's commands. `make help` lists them.
#
# Everything that is built goes to .build, the demo's state to .demo; both are
# safe to delete. Nothing here needs root but the installation of the Debian
# packages that the tests use.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

BUILD ?= .build
# RACE=-race builds every program with the race detector.
RACE ?=
CGO := $(if $(RACE),1,0)
DEV := go -C deploy/dev
OUT := $(abspath $(BUILD))

GOLANGCI_VERSION := v2.6.2
FUZZTIME ?= 3s
TEST_PACKAGES := chromium libnss3-tools

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: build vault ## run the whole stack on this machine (DEMO_PORT, DEMO_STATE, DEMO_IDP_METADATA)
	@exec $(OUT)/demo

.PHONY: build
build: ## build sallyport and the demo's programs into .build
	@echo "build: sallyport and the demo's programs into $(BUILD)"
	@CGO_ENABLED=$(CGO) go build -trimpath $(RACE) -o $(OUT)/sallyport ./cmd/sallyport
	@CGO_ENABLED=$(CGO) $(DEV) build -trimpath $(RACE) -o $(OUT)/demo ./demo
	@CGO_ENABLED=$(CGO) $(DEV) build -trimpath $(RACE) -o $(OUT)/demo-idp ./idp/demo-idp
	@CGO_ENABLED=$(CGO) $(DEV) build -trimpath $(RACE) -o $(OUT)/app-headers ./apps/headers
	@CGO_ENABLED=$(CGO) $(DEV) build -trimpath $(RACE) -o $(OUT)/app-notes ./apps/notes

.PHONY: vault
vault: ## find or build a Vault server and link to it as .build/vault
	@CGO_ENABLED=0 $(DEV) build -trimpath -o $(OUT)/ensurevault ./ensurevault
	@exec $(OUT)/ensurevault -module deploy/dev/vault -link $(OUT)/vault
