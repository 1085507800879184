# Everything a person types here: make demo, make test, make check, make bench, make release.
GO ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS = -s -w -X bramble/cli.version=$(VERSION)
BUILD = CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags "$(LDFLAGS)"

.PHONY: build
build: ## Build bin/bramble for this machine.
	$(BUILD) -o bin/bramble .
