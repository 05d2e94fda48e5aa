# The two commands of a fresh machine are `make demo` and `make test`; `make` alone lists the rest.
# Cargo does the work; this file says in which order and with which system packages.

.DEFAULT_GOAL := help
# The steps share one package manager and one build folder.
.NOTPARALLEL:
.PHONY: help demo test build bench lint oracle compare install man clean-demo packages packages-oracle rocksdb soak fuzz

# A shell that was open when Rust was installed does not have cargo on its PATH yet.
export PATH := $(PATH):$(HOME)/.cargo/bin

CARGO ?= cargo
# The versions of Cargo.lock, or an error; never a silent update.
CARGO_FLAGS ?= --locked
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
BINARY := $(TARGET_DIR)/release/skycache-gpu
SHELLS := bash zsh fish powershell elvish

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{ printf "%-18s %s\n", $$1, $$2 }'

demo: build ## build, run the pipeline on a made-up projection in demo/, and show what came out
	$(BINARY) demo

test: packages rocksdb ## run all tests, those in the documentation too
	$(CARGO) test --no-fail-fast $(CARGO_FLAGS)
	@# Whether it works without them, not how fast: unoptimised it is built in a third of the time.
	$(CARGO) test --no-default-features --lib $(CARGO_FLAGS) --config 'profile.dev.package.skycache-gpu.opt-level=0'

build: packages rocksdb ## build the optimised binary
	$(CARGO) build --release $(CARGO_FLAGS)

bench: packages rocksdb ## run the benchmarks (docs/benchmarks.md says how to read them)
	$(CARGO) bench $(CARGO_FLAGS)

lint: packages rocksdb ## check formatting, lints, documentation, and that the benchmarks build
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets $(CARGO_FLAGS) -- -D warnings
	$(CARGO) clippy --all-targets --no-default-features $(CARGO_FLAGS) -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps $(CARGO_FLAGS)
	$(CARGO) bench --no-run $(CARGO_FLAGS)

oracle: packages-oracle build ## compare results with astropy, SciPy and zarr-python
	sh oracle/run.sh

soak: packages rocksdb ## kill, damage and crowd the cache for a quarter of an hour
	SKYCACHE_SOAK=40 PROPTEST_CASES=100000 $(CARGO) test --release $(CARGO_FLAGS) --test cache --test cache_store
	PROPTEST_CASES=1000000 $(CARGO) test --release $(CARGO_FLAGS) --lib cache::entry image::header

FUZZ_SECONDS ?= 300

fuzz: packages ## look for bytes that break entries of the cache, and cards that break headers (ten minutes)
	@command -v cargo-fuzz >/dev/null || $(CARGO) install cargo-fuzz --locked
	@# Without a sanitizer the compiler need not be a nightly one.
	cd fuzz && for target in entry header; do \
		$(CARGO) fuzz run --sanitizer none $$target -- -max_total_time=$(FUZZ_SECONDS) || exit 1; \
	done

compare: packages-oracle build ## blur one plane with us, SciPy, astropy and OpenCV: time, memory, error, NaN (ten minutes)
	sh oracle/peers.sh

install: packages rocksdb ## install the binary with cargo, into ~/.cargo/bin
	$(CARGO) install --path . $(CARGO_FLAGS)

man: build ## write man pages and shell completions into target/man and target/completions
	$(BINARY) man-pages $(TARGET_DIR)/man
	@mkdir -p $(TARGET_DIR)/completions
	@set -e; for shell in $(SHELLS); do \
		echo "$(TARGET_DIR)/completions/skycache-gpu.$$shell"; \
		$(BINARY) completions $$shell > $(TARGET_DIR)/completions/skycache-gpu.$$shell; \
	done

clean-demo: ## remove what the demo wrote
	rm -rf demo

packages:
	@sh scripts/system-packages.sh

rocksdb: packages
	@sh scripts/rocksdb.sh

packages-oracle:
	@sh scripts/system-packages.sh --oracle
