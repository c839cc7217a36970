# Sallyport's commands. `make help` lists them.
#
# What is built goes to .build, the demo's state to .demo; both can be deleted at
# any time. `make test` wants root where one of the programs that the tests run is
# missing, and `make swarm` always.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

BUILD ?= .build
OUT := $(abspath $(BUILD))

# RACE=-race builds the programs with the race detector, which needs cgo.
RACE ?=
# Of a handshake most of the detector's work is for the arithmetic of keys, which is the
# standard library's and has nothing that two goroutines share. It is left out of it.
ARITHMETIC := bigmod edwards25519/... mlkem nistec/...
RACING = -race $(ARITHMETIC:%=-gcflags=crypto/internal/fips140/%=-race=false)
GOBUILD = CGO_ENABLED=$(if $(RACE),1,0) go

# The demo and its tests are a module of their own; there is no go.work, which
# would build the product with the demo's versions of things.
DEV := deploy/dev

# The version that .golangci.yml is written for.
LINT_VERSION := 2.15.0
LINT := $(abspath .build/bin/golangci-lint)

# A number of inputs (5000x) or a time (1m) for each fuzz target. A number is the
# default because the end of a time can fail a busy machine's run (go.dev/issue/75804).
FUZZTIME ?= 5000x
# Tests that run processes wait more than they work: more of them than cores run at once.
TEST_FLAGS ?= $(RACING) -count=1 -parallel 4 -timeout 30m

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: build server ## run the whole stack on this machine (DEMO_PORT, DEMO_STATE, DEMO_IDP_METADATA)
	@exec $(OUT)/demo

.PHONY: build
build: ## build sallyport and the demo's programs into .build
	@echo "build: sallyport (the first build on a machine takes a minute or two)"
	@$(GOBUILD) build -trimpath $(if $(RACE),$(RACING)) -o $(OUT)/sallyport ./cmd/sallyport
	@echo "build: the demo's programs"
	@$(GOBUILD) -C $(DEV) build -trimpath $(if $(RACE),$(RACING)) -o $(OUT)/demo ./demo
	@$(GOBUILD) -C $(DEV) build -trimpath $(if $(RACE),$(RACING)) -o $(OUT)/demo-idp ./idp/demo-idp
	@$(GOBUILD) -C $(DEV) build -trimpath $(if $(RACE),$(RACING)) -o $(OUT)/app-headers ./apps/headers
	@$(GOBUILD) -C $(DEV) build -trimpath $(if $(RACE),$(RACING)) -o $(OUT)/app-notes ./apps/notes

.PHONY: plugin
plugin: ## make the Docker plugin for Swarm in .build/plugin, for `docker plugin create`
	@echo "build: the Docker plugin"
	@rm -rf $(OUT)/plugin
	@mkdir -p $(OUT)/plugin/rootfs/etc/sallyport $(OUT)/plugin/rootfs/run/sallyport $(OUT)/plugin/rootfs/run/docker/plugins
	@CGO_ENABLED=0 go build -trimpath -ldflags="-s -w -buildid=" -o $(OUT)/plugin/rootfs/sallyport ./cmd/sallyport
	@cp deploy/swarm/plugin.json $(OUT)/plugin/config.json

.PHONY: vault
vault: server ## find or build a Vault server and the plugins that tests have it run; links to them in .build
	@$(OUT)/ensurevault -module $(DEV)/vault -plugin kubernetes -link $(OUT)/vault-plugin-auth-kubernetes
	@$(OUT)/ensurevault -module $(DEV)/vault -plugin mysql -link $(OUT)/vault-plugin-database-mysql
	@$(OUT)/ensurevault -module $(DEV)/vault -plugin postgresql -link $(OUT)/vault-plugin-database-postgresql

# The demo does without the plugins.
.PHONY: server
server:
	@CGO_ENABLED=0 go -C $(DEV) build -trimpath -o $(OUT)/ensurevault ./ensurevault
	@exec $(OUT)/ensurevault -module $(DEV)/vault -link $(OUT)/vault

.PHONY: caddy
caddy: ## build the Caddy that package ingress puts in front of a tool
	@echo "build: Caddy (the first build on a machine takes some minutes)"
	@CGO_ENABLED=0 go -C $(DEV)/caddy build -trimpath -o $(OUT)/caddy github.com/caddyserver/caddy/v2/cmd/caddy

# These are unpacked and not installed. SimpleSAMLphp wants a web server; that, and
# Prometheus, would start and listen on every address.
UNPACKED := .build/debian/simplesamlphp .build/debian/prometheus
$(UNPACKED): .build/debian/%:
	@echo "test: unpacking $*"
	@rm -rf $@.new && mkdir -p $@.new
	@cd $@.new && { apt-get -qq download $* 2>/dev/null || { apt-get -qq update && apt-get -qq download $*; }; }
	@dpkg-deb -x $@.new/$*_*.deb $@.new && rm $@.new/$*_*.deb && mv $@.new $@

.PHONY: test
test: packages $(UNPACKED) vault caddy vet ## run every test: unit, integration, end to end in a browser, fuzz targets briefly
	@echo "test: the product, with the race detector"
	@go test $(TEST_FLAGS) ./...
	@echo "test: the demo and the whole stack in a browser, with the race detector"
	@go -C $(DEV) test $(TEST_FLAGS) ./...
	@if [[ $$(id -u) == 0 ]]; then $(MAKE) swarm; else \
		echo "test: NOT RUN: the Docker plugin, sidecars and an example in a real engine, which needs root: sudo make swarm"; fi
	@$(MAKE) fuzz
	@echo "test: everything passed"

.PHONY: swarm
swarm: NEEDS = dockerd:docker.io docker:docker.io iptables:iptables ip:iproute2 setpriv:util-linux /usr/bin/python3:python3 \
	gunicorn:gunicorn ssh-keygen:openssh-client openssl:openssl $(foreach package,$(EXAMPLE),/usr/share/doc/$(package):$(package))
swarm: packages ## test the Docker plugin, sidecars and an example in a real engine of its own (as root; touches no engine that runs)
	@echo "test: the Docker plugin in a real Swarm, and sidecars and an example in containers"
	@go -C $(DEV) test -tags swarm -count=1 -timeout 10m ./swarm

# A package is built once for all of its targets, with what tells the fuzzer where an
# input has come to. Each line of the file targets is one of them; as many as there are
# cores run at once, each with one worker.
FUZZ := $(OUT)/fuzz

.PHONY: fuzz
fuzz: ## run each fuzz target briefly (FUZZTIME=5000x inputs, or 1m)
	@rm -rf $(FUZZ) && mkdir -p $(FUZZ)
	@echo "fuzz: building the targets"
	@go list -f '{{.ImportPath}} {{.Dir}}' ./... | while read -r package dir; do \
		if ! grep -qs '^func Fuzz' "$$dir"/*_test.go; then continue; fi; \
		binary=$(FUZZ)/$${package//\//-}.test; \
		go test -c -fuzz . -o "$$binary" "$$package"; \
		"$$binary" -test.list '^Fuzz' | sed "s|^|$$package $$dir $$binary |"; \
	done >$(FUZZ)/targets
	@cache=$$(go env GOCACHE)/fuzz xargs -P "$$(nproc)" -n 4 bash -euc '\
		if ! said=$$(cd "$$1" && "$$2" -test.run "^$$" -test.fuzz "^$$3$$" -test.fuzztime $(FUZZTIME) -test.fuzzminimizetime 100x \
			-test.fuzzcachedir "$$cache/$$0" -test.parallel 1 -test.paniconexit0 -test.timeout 10m 2>&1); then \
			printf "%s\n" "fuzz: $$0 $$3 has FAILED" "$$said"; exit 255; \
		fi; \
		head -n 1 <<<"fuzz: $$0 $$3, $${said##*elapsed: }"' <$(FUZZ)/targets
	@rm -rf $(FUZZ)

# What the gateway and the sidecar cost, beside others. It wants a quiet machine with two cores, and
# says how far its rounds lie apart. BENCH="-figures h1,h2 -rounds 9" measures less, or more.
BENCH ?=

.PHONY: bench
bench: NEEDS := nginx:nginx haproxy:haproxy wrk:wrk h2load:nghttp2-client taskset:util-linux
bench: packages build server ## measure what the gateway and the sidecar cost beside nginx, haproxy and plain Go (BENCH=…)
	@$(GOBUILD) -C $(DEV) build -trimpath -o $(OUT)/bench ./bench
	@exec $(OUT)/bench $(BENCH)

# The compiler optimises what this profile says is run often (go.dev/doc/pgo). Renew it
# when the way of a request has changed, and see with `make bench` what it brings.
PROFILE := $(OUT)/profile

.PHONY: pgo
pgo: NEEDS := wrk:wrk h2load:nghttp2-client taskset:util-linux
pgo: packages server ## renew cmd/sallyport/default.pgo with profiles of the gateway and the sidecar under load
	@mkdir -p $(PROFILE)
	@CGO_ENABLED=0 go build -trimpath -tags profile -o $(PROFILE)/sallyport ./cmd/sallyport
	@CGO_ENABLED=0 go -C $(DEV) build -trimpath -o $(PROFILE)/bench ./bench
	@$(PROFILE)/bench -peers gateway -figures h1,h2,h2m,100k,10m,new,resumed,signon -rounds 2 -seconds 4 -profile $(PROFILE)
	@$(PROFILE)/bench -peers sidecar -figures h1,100k,new -rounds 2 -seconds 4 -profile $(PROFILE)
	@go tool pprof -proto $(PROFILE)/gateway.pprof $(PROFILE)/sidecar.pprof >cmd/sallyport/default.pgo

# A quarter of an hour of a company's life with Vault; see TestSoak.
SOAK ?= 15m

.PHONY: soak
soak: vault ## run the long test: everything rotated under load while Vault goes away (SOAK=15m)
	@go test ./cmd/sallyport -run '^TestSoak$$' -count=1 -v -soak $(SOAK) -timeout 0

# Everything at once for so long, with 5,000 idle connections; see TestStorm.
STORM ?= 30m

.PHONY: storm
storm: vault ## run the load test: every kind of client at once, good ones and bad (STORM=30m)
	@go test ./cmd/sallyport -run '^TestStorm$$' -count=1 -v -storm $(STORM) -timeout 0

# The access log against what a tool was asked, for so long; see TestEveryRequestHasItsRecord.
RECORDS ?= 1h

.PHONY: records
records: vault ## hold the access log against what a tool was asked, with restarts, reloads and kills (RECORDS=1h)
	@go test ./cmd/sallyport -run '^TestEveryRequestHasItsRecord$$' -count=1 -v -records $(RECORDS) -timeout 0

# A collector of the access log away for so long; see TestCollectorIsAway.
AWAY ?= 10m

.PHONY: away
away: vault ## have a collector of the access log away at full load, and see that it misses nothing (AWAY=10m)
	@go test ./cmd/sallyport -run '^TestCollectorIsAway$$' -count=1 -v -away $(AWAY) -timeout 0

# The notes applications of deploy/examples under load for so long, with credentials of
# a minute.
EXAMPLES ?= 1h

.PHONY: examples
examples: packages vault ## run the examples' notes under load while their credentials change (EXAMPLES=1h)
	@go -C $(DEV) test ./examples -run '^TestCredentialsChangeUnderLoadWithoutAFailedRequest$$' -count=1 -v -examples $(EXAMPLES) -timeout 0

.PHONY: vet
vet:
	@echo "test: go vet"
	@go vet ./...
	@go -C $(DEV) vet ./...
	@go -C $(DEV) vet -tags swarm ./swarm/...

# What the tests run besides Go: the race detector's C compiler, the browser, the
# program that adds a CA to those that the browser trusts, what the scripts of
# deploy/vault run, small disks that become full, a second opinion on XML signatures, and SAML's schemas. Each is a
# program, or a file, and the Debian package that it is in; other targets need others.
NEEDS := slowhttptest:slowhttptest curl:curl gcc:gcc gcc:libc6-dev chromium:chromium certutil:libnss3-tools gpg:gnupg gpg-agent:gnupg openssl:openssl unshare:util-linux mount:mount xmlsec1:xmlsec1 xmllint:libxml2-utils \
	/usr/share/xml/opensaml/saml-schema-metadata-2.0.xsd:opensaml-schemas /usr/share/xml/xmltooling/xenc-schema.xsd:xmltooling-schemas

# What package interop meets: LemonLDAP::NG, PHP for SimpleSAMLphp, and mod_auth_mellon.
# None of these starts anything or listens. uwsgi-app stands in for the web servers that
# would, one of which LemonLDAP::NG wants. What has no program is known by its folder of documents.
INTEROP := php-xml php-mbstring libplack-perl liblemonldap-ng-portal-perl lemonldap-ng-uwsgi-app liblasso-perl libxml-simple-perl libio-string-perl \
	apache2-bin libapache2-mod-auth-mellon libfaketime
NEEDS += php-cgi:php-cgi $(foreach package,$(INTEROP),/usr/share/doc/$(package):$(package))

# What package backends meets: servers that read X_Forwarded_User as X-Forwarded-User. None
# of these packages starts anything.
NEEDS += php:php-cli gunicorn:gunicorn uwsgi:uwsgi-core /usr/lib/uwsgi/plugins/python3_plugin.so:uwsgi-plugin-python3
# What the verifiers of docs/backends run on. The test calls Debian's own Python, whatever
# other there is.
VERIFY := python3-jwt python3-cryptography python3-openssl
NEEDS += node:nodejs ruby:ruby /usr/bin/python3:python3 $(foreach package,$(VERIFY),/usr/share/doc/$(package):$(package))
# What package ingress puts in front of a tool. Where an init system runs, the package
# starts a server on port 80; the tests start their own, on loopback.
NEEDS += nginx:nginx
# The collector of package syslog. Where an init system runs, the package starts one for the
# machine's own log; the tests start their own, on loopback.
NEEDS += rsyslogd:rsyslog /usr/share/doc/rsyslog-gnutls:rsyslog-gnutls

# What the examples are made with: two databases, three applications. Where an init
# system runs, the package of PostgreSQL starts a server; the tests start their own, on
# loopback.
EXAMPLE := python3-flask python3-pymysql python3-psycopg2 postgresql
NEEDS += mariadbd:mariadb-server-core mariadb:mariadb-client-core setpriv:util-linux ssh-keygen:openssh-client $(foreach package,$(EXAMPLE),/usr/share/doc/$(package):$(package))

.PHONY: packages
packages:
	@missing=; \
	for need in $(NEEDS); do \
		command -v "$${need%%:*}" >/dev/null || [[ -e $${need%%:*} ]] || missing+=" $${need##*:}"; \
	done; \
	if [[ -z $$missing ]]; then exit 0; fi; \
	if [[ $$(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then \
		echo "test: these Debian packages are needed and cannot be installed from here:$$missing" >&2; \
		echo "test: run this once as root: apt-get install --no-install-recommends$$missing" >&2; \
		exit 1; \
	fi; \
	echo "test: installing$$missing"; \
	log=$$(mktemp); \
	if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $$missing; } >"$$log" 2>&1; then \
		tail -20 "$$log" >&2; echo "test: installing$$missing did not work; the whole output is in $$log" >&2; exit 1; \
	fi; \
	rm -f "$$log"

.PHONY: check
check: format lint test ## what must pass before a merge: format, vet, golangci-lint, tests

.PHONY: format
format:
	@echo "check: gofmt"
	@unformatted=$$(gofmt -l .); if [[ -n $$unformatted ]]; then echo "not formatted (run: make fmt):" $$unformatted >&2; exit 1; fi

.PHONY: lint
lint: ## run golangci-lint on both modules
	@if ! "$(LINT)" version 2>/dev/null | grep -q "version $(LINT_VERSION) "; then \
		echo "check: building golangci-lint $(LINT_VERSION) (once; takes a minute or two)"; \
		GOBIN=$(dir $(LINT)) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v$(LINT_VERSION); \
	fi
	@echo "check: golangci-lint"
	@$(LINT) run ./...
	@cd $(DEV) && $(LINT) run --config $(CURDIR)/.golangci.yml --build-tags swarm ./...

.PHONY: fmt
fmt: ## format the Go files
	@gofmt -w .

.PHONY: gobench
gobench: ## run the benchmarks that stand beside the code
	@go test -run '^$$' -bench . -benchmem ./...

.PHONY: image
image: ## build the container image sallyport:latest
	@docker build --build-arg SOURCE_DATE_EPOCH="$$(git log -1 --format=%ct)" -t sallyport .

.PHONY: clean
clean: ## remove what was built and the demo's state (the cached Vault stays)
	@rm -rf .build .demo
