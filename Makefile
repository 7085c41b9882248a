# SPDX-License-Identifier: BSD-2-Clause
# A thin door over Meson: what each target does is written in scripts/ and the meson.build files.
BUILD ?= build/release
PREFIX ?= /usr/local
DESTDIR ?=
FUZZ_SECONDS ?= 30

all: $(BUILD)/build.ninja
	ninja -C $(BUILD)

run: all
	BUILD=$(BUILD) scripts/run

check: tools
	scripts/test check

test: tools
	scripts/test all

bench: all
	bench/run $(BUILD) build/bench.json

bench-guests: all
	bench/run $(BUILD) build/bench-guests.json guests

fuzz: tools
	scripts/fuzz $(FUZZ_SECONDS)

lint: tools
	scripts/lint

install: all
	meson configure $(BUILD) -Dprefix=$(PREFIX)
	meson install -C $(BUILD) $(if $(DESTDIR),--destdir $(abspath $(DESTDIR)))

clean:
	rm -rf build

$(BUILD)/build.ninja: | tools
	meson setup $(BUILD) --buildtype=release --prefix=$(PREFIX)

tools:
	@command -v meson >/dev/null && command -v ninja >/dev/null || \
	    { echo 'make: meson or ninja is missing. Install what viaduct needs with: sudo scripts/deps' >&2; exit 1; }

.PHONY: all run check test bench bench-guests fuzz lint install clean tools
