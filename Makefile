# Builds, tests and shows DataDB. `make demo` and `make test` work on a fresh Debian with nothing but Rust on it.

export CARGO_TARGET_DIR ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/datadb/target

CACHE    := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/datadb
RELEASE  := $(CARGO_TARGET_DIR)/release
CARGO    := cargo
WHOLE    := --release --workspace --locked
PREFIX   ?= /usr/local
TARGET   ?= call
SECONDS  ?= 300
DIR      ?= $(CURDIR)
PROGRAMS := datadb-server datadb-client datadb-fuse datadb-scheduler datadb-resp
VENV     := $(CACHE)/venv
S3       := $(CACHE)/s3
GARAGE   := $(CACHE)/garage

.NOTPARALLEL:
.PHONY: help build demo test test-cluster lint install bench bench-mount bench-resp bench-stores bench-check fuzz deps deps-test

help: ## Show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo '  Variables: DIR=path (demo)  TREE=path NEXT=path (bench)  LARGE=path (bench-mount)  TARGET=name SECONDS=n (fuzz)  PREFIX=path (install)  CARGO_TARGET_DIR=path'

build: deps ## Build all programs
	$(CARGO) build $(WHOLE)

demo: build ## Back DIR up twice, restore it, compare: the main job, on your own files
	@tests/scripts/demo.sh '$(RELEASE)' '$(DIR)'

test: build deps-test lint ## Run every test and lint
	DATADB_GRPCURL='$(VENV)/bin/grpcurl' DATADB_PYTHON='$(VENV)/bin/python' DATADB_S3='$(S3)/bin/s3s-fs' $(CARGO) test $(WHOLE)

test-cluster: build ## Test against a real S3 cluster (garage) that loses nodes and gets them back
	@tests/scripts/garage.sh '$(GARAGE)'
	@GARAGE='$(GARAGE)/bin/garage' tests/cluster/run.py '$(RELEASE)'

lint: deps ## Check format, lints and documentation
	$(CARGO) fmt --all --check
	$(CARGO) clippy $(WHOLE) --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc $(WHOLE) --no-deps

install: build ## Install programs, units, manual pages and completions below PREFIX
	install -d '$(DESTDIR)$(PREFIX)/bin'
	install -m 755 $(PROGRAMS:%='$(RELEASE)/%') '$(DESTDIR)$(PREFIX)/bin'
	tests/scripts/share.sh '$(RELEASE)/datadb-client' '$(DESTDIR)$(PREFIX)/share'
	install -d '$(DESTDIR)$(PREFIX)/lib/systemd/system'
	for unit in server scheduler; do \
	    sed 's|/usr/local/bin/|$(PREFIX)/bin/|' $$unit/systemd/datadb-$$unit.service \
	        >'$(DESTDIR)$(PREFIX)/lib/systemd/system/'datadb-$$unit.service || exit 1; done
	@if [ -n '$(DESTDIR)' ] || [ -w /sbin ]; then \
	    install -d '$(DESTDIR)/sbin' && ln -sf '$(PREFIX)/bin/datadb-fuse' '$(DESTDIR)/sbin/mount.fuse.datadb'; \
	else echo 'for lines of fstab, as root: ln -s $(PREFIX)/bin/datadb-fuse /sbin/mount.fuse.datadb'; fi

bench: build ## Measure beside restic and borg (BENCH_ALL=1: bupstash and rustic, too)
	@tests/bench/compare.py '$(RELEASE)' $(TREE) $(NEXT)

bench-resp: build ## Measure the Redis protocol beside a redis-server
	@tests/bench/resp.py '$(RELEASE)'

bench-mount: build ## Measure the time machine beside restic mount and borg mount (as root)
	@tests/bench/mount.py '$(RELEASE)' $(TREE) $(LARGE)

bench-stores: build ## Measure each stack of stores beside plain BlobsFile
	@S3_SERVER='$(wildcard $(S3)/bin/s3s-fs)' tests/bench/stores.py '$(RELEASE)' $(TREE)

bench-check: deps ## Count the instructions of every stage; fails on 10 % more than on record
	@tests/bench/instructions.sh "$$(tests/bench/stages.sh '$(CARGO_TARGET_DIR)')"

fuzz: ## Fuzz TARGET for SECONDS (needs a nightly compiler and cargo-fuzz)
	$(CARGO) +nightly fuzz run --fuzz-dir tests/fuzz $(TARGET) -- -max_total_time=$(SECONDS)

deps:
	@tests/scripts/need.sh build

deps-test:
	@tests/scripts/need.sh test
	@tests/scripts/venv.sh '$(VENV)'
	@tests/scripts/s3.sh '$(S3)'
