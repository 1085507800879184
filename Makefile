# Everything a person types here. make help lists it.
GO ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS = -s -w -X bramble/cli.version=$(VERSION)
TARGETS = linux/amd64 linux/arm64 linux/arm/7 linux/arm/6

.PHONY: help build demo test check bench release fuzz clean

help: ## List what can be made.
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t12

build: ## Build bin/bramble for this machine.
	@GO="$(GO)" scripts/build bin/bramble "$(LDFLAGS)"

demo: build ## A real cluster on this machine, at work.
	@bin/bramble demo

test: ## Every test, real parts included; installs what they need when it can.
	@scripts/setup
	@$(MAKE) --no-print-directory vet cross build
	BRAMBLE_BIN=$(CURDIR)/bin/bramble $(GO) test -timeout 20m ./...

check: ## The quick loop: format, vet, architecture, cross-compiling, unit and fake-time tests.
	@$(MAKE) --no-print-directory vet cross
	$(GO) test -short -timeout 5m ./...

.PHONY: vet cross
vet:
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$unformatted" ] || { echo "gofmt -w $$unformatted"; exit 1; }
	$(GO) vet ./...

cross: # All that is released compiles; the client verbs and the demo compile for macOS too.
	@for t in $(TARGETS) darwin/arm64; do \
		echo "build $$t"; \
		GOOS=$${t%%/*} GOARCH=$$(echo $$t | cut -d/ -f2) GOARM=$$(echo $$t | cut -s -d/ -f3) GO="$(GO)" scripts/build /dev/null "-s -w" || exit 1; \
	done

bench: build ## Measure beside peers; writes docs/performance.md.
	@scripts/setup bench
	$(GO) run ./bench

release: ## Static, reproducible binaries with checksums and licences in dist/.
	@scripts/release "$(VERSION)" "$(TARGETS)"

fuzz: ## A minute of fuzzing each target.
	@for p in $$($(GO) list ./...); do for f in $$($(GO) test -list '^Fuzz' $$p | grep ^Fuzz); do \
		$(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime 60s $$p || exit 1; done; done

clean:
	rm -rf bin dist
