# `make` lists the targets. The work is in scripts/check.sh, so that a stage runs the same alone and in `make test`.

GO       ?= go
PKGS     ?=#           packages of the root module; set it (PKGS=./store/...) to check only those
FUZZTIME ?= 20000x#    for each fuzz target, some seconds; a count, since Go before 1.27 takes the end of a time for a failure at times (golang/go#75804)
export GO PKGS FUZZTIME

LINTER = github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

.PHONY: help test unit processes fmt vet staticcheck fuzz cross cover lint bench bench-quick bench-hydra bench-revocation bench-growth

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

test: ## everything that must pass: format, vet, staticcheck, race tests on real PostgreSQL and SQLite, fuzzing, cross builds
	@bash scripts/check.sh fmt vet staticcheck unit processes fuzz cross

unit: ## only the tests: the root module with -race, and all others
	@bash scripts/check.sh unit

fmt: ## gofmt what is not
	gofmt -w $$(git ls-files -co --exclude-standard '*.go')

vet staticcheck processes cross fuzz: ## one stage of `make test` (for fuzz: FUZZTIME=1000000x)
	@bash scripts/check.sh $@

cover: ## test coverage of the root module, by function, and as coverage.html
	@bash scripts/check.sh cover

lint: ## golangci-lint with .golangci.yml
	@if command -v golangci-lint >/dev/null; then golangci-lint run $(or $(PKGS),./...); \
	else $(GO) run $(LINTER) run $(or $(PKGS),./...); fi

bench: ## measure beside limits and peers, some 15 minutes on a quiet machine: writes docs/performance.md and its plots
bench-quick: ## the same roughly, in under three minutes: writes nothing
bench-hydra: ## build ory/hydra, for bench to measure beside
bench-revocation: ## how late other processes hear of a revocation: writes docs/revocation.md
bench bench-quick bench-hydra bench-revocation:
	@$(MAKE) -C bench $@

bench-growth: ## latency and bytes from ten thousand rows to ten million: writes docs/growth.md
	@$(MAKE) -C bench $@
