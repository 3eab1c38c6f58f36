# SPDX-License-Identifier: BSD-3-Clause
#
## gild: virtual disk images, made, cloned, converted and looked into
##
## Targets:
##   all (default)   build/gild, build/libgild.so, build/libgild.a, build/gild.pc,
##                   build/nbdkit-gild-plugin.so
##   deps            install what is missing (Debian package names), or say so
##   demo            the main job on a real guest: convert, clone, compare, check
##   check           all of it: build, layers, headers, every test, sanitizers
##   check-fast      unit and tool tests of the release build, at level "fast"
##   check-long      long tests, the suite in each sanitizer build, brief fuzzing
##   check-asan check-ubsan check-tsan
##                   the whole suite in one sanitizer build
##   check-clients   programs that call qemu-img: libvirt, libguestfs, its tools
##   check-layers    does every include point down?
##   check-headers   does every header compile alone?
##   fuzz            fuzz every target for FUZZ_SECONDS each (60)
##   bench           gild beside qemu-img, in the same run, as ratios
##   lint            spelling of files, SPDX lines, shell scripts, format
##   format          rewrite the C files in the style of .clang-format
##   operations      doc/operations.md, from what the program says of itself
##   man             manual pages from tools/*.pod
##   install         to DESTDIR and PREFIX (/usr/local)
##   install-compat  that, and gild as qemu-img in PREFIX/lib/gild/compat
##   clean           remove build/
##   help            this text
##
## Variables:
##   V=1             show the commands
##   W=1             warnings are errors (always so where CI is set)
##   D=asan|ubsan|tsan|cov
##                   a debug build of its own, in build/$D
##   T=PATTERN       run only tests whose path matches (T='qcow2-*')
##   JOBS=N          compilers and tests at a time (the number of processors)
##
## A variant keeps its objects in build/<variant>/obj, its unit tests in
## build/<variant>/tests; the release variant's products are in build/ itself.
## Sources are found, not listed: a new .c or test-*.c needs no line here.

VERSION   := $(shell sed -n 's/^.define GILD_VERSION "\(.*\)"/\1/p' include/gild.h)
SOVERSION := 0

PREFIX     ?= /usr/local
BINDIR     ?= $(PREFIX)/bin
LIBDIR     ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
MANDIR     ?= $(PREFIX)/share/man
COMPDIR    ?= $(PREFIX)/share/bash-completion/completions
COMPATDIR  ?= $(LIBDIR)/gild/compat

JOBS         ?= $(shell nproc)
FUZZ_SECONDS ?= 60
W            ?= $(if $(CI),1)

Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-7s %s\n' '$(1)' '$(2)';)

MAKEFLAGS += -rR --no-print-directory
ifeq ($(MAKELEVEL),0)
MAKEFLAGS += -j$(JOBS)
endif

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SECONDARY:

# --- Variants ---------------------------------------------------------------

ifeq ($(D),)
VARIANT := release
OUT     := build
CC      := gcc
CFLAGS  ?= -O2 -g
else
VARIANT := $(D)
OUT     := build/$(D)
CC      := gcc
DEBUG   := -g -O1 -fno-omit-frame-pointer
ifeq ($(D),asan)
CFLAGS := $(DEBUG) -fsanitize=address
else ifeq ($(D),ubsan)
CFLAGS := $(DEBUG) -fsanitize=undefined -fno-sanitize-recover=all
else ifeq ($(D),tsan)
CFLAGS := $(DEBUG) -fsanitize=thread
else ifeq ($(D),cov)
CFLAGS := -g -O0 --coverage
else ifeq ($(D),fuzz)
# Not for the user's command line: "make fuzz" asks for it.
CC     := clang
CFLAGS := $(DEBUG) -fsanitize=fuzzer-no-link,address,undefined
W      :=
else
$(error D=$(D): the variants are asan, ubsan, tsan and cov)
endif
endif

B := build/$(VARIANT)
O := $(B)/obj

# --- Libraries --------------------------------------------------------------

# What pkg-config calls it, and the Debian package that brings it.
LIB_MODULES  := zlib libzstd libdeflate libisal libcrypto
TOOL_MODULES := jansson
TEST_MODULES := criterion
# Loaded when it is needed, so only its header is wanted here.
HEADER_MODULES := fuse3 libnbd

debian-zlib       := zlib1g-dev
debian-libzstd    := libzstd-dev
debian-libdeflate := libdeflate-dev
debian-libisal    := libisal-dev
debian-libcrypto  := libssl-dev
debian-jansson    := libjansson-dev
debian-criterion  := libcriterion-dev
debian-nbdkit     := nbdkit-plugin-dev
debian-fuse3      := libfuse3-dev
debian-libnbd     := libnbd-dev

PKG_CONFIG ?= pkg-config
pkg = $(shell $(PKG_CONFIG) $(1) $(2) 2>/dev/null)

LIB_LIBS   := $(call pkg,--libs,$(LIB_MODULES))
TOOL_LIBS  := $(call pkg,--libs,$(TOOL_MODULES))
TEST_LIBS  := $(call pkg,--libs,$(TEST_MODULES))

# What is built only where it can be; "all" says what is left out.
HAVE_NBDKIT := $(shell $(PKG_CONFIG) --exists nbdkit 2>/dev/null && echo 1)
# Where nbdkit looks for "nbdkit gild"; in a prefix of one's own it does not.
NBDKITDIR ?= $(if $(filter /usr /usr/local,$(PREFIX)),$(shell \
	$(PKG_CONFIG) --variable=plugindir nbdkit 2>/dev/null),$(LIBDIR)/nbdkit/plugins)

# Fails with the package's name for each module that pkg-config cannot find.
need = missing=; for m in $(foreach m,$(1),$(m):$(debian-$(m))); do \
	$(PKG_CONFIG) --exists $${m%%:*} 2>/dev/null || \
	missing="$$missing $${m\#*:}"; done; \
	test -z "$$missing" || { command -v $(PKG_CONFIG) >/dev/null || \
	missing="$(PKG_CONFIG)$$missing"; echo "gild cannot be built without" \
	"these packages:$$missing" >&2; echo "('make deps' installs them)" >&2; \
	exit 1; }

# --- Flags ------------------------------------------------------------------

WARNINGS := -Wall -Wextra -Wshadow -Wvla -Wstrict-prototypes \
	-Wmissing-prototypes -Wold-style-definition -Wundef -Wpointer-arith \
	-Wcast-qual -Wwrite-strings -Wformat=2 -Wimplicit-fallthrough

ALL_CPPFLAGS := -Iinclude -I. -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 \
	$(call pkg,--cflags,$(LIB_MODULES) $(TOOL_MODULES) $(HEADER_MODULES)) \
	$(CPPFLAGS)
ALL_CFLAGS   := -std=c11 $(CFLAGS) -pthread -fPIC -fvisibility=hidden \
	$(WARNINGS)
ALL_LDFLAGS  := $(CFLAGS) -pthread -Wl,--as-needed -Wl,-z,relro $(LDFLAGS)

# --- Sources ----------------------------------------------------------------

LIB_DIRS := util storage formats formats/* formats/*/* jobs guest
find-c    = $(sort $(foreach d,$(1),$(wildcard $(d)/*.c)))
not-tests = $(foreach f,$(1),$(if $(filter test-%,$(notdir $(f))),,$(f)))
only-tests = $(foreach f,$(1),$(if $(filter test-%,$(notdir $(f))),$(f)))
objects   = $(patsubst %.c,$(O)/%.o,$(1))

LIB_SRC    := $(call not-tests,$(call find-c,$(LIB_DIRS)))
TOOL_SRC   := $(call not-tests,$(call find-c,tools fuse))
HELPER_SRC := $(call find-c,tests/lib)
# Criterion's own processes do not survive the thread sanitizer.
ifeq ($(D),tsan)
HELPER_SRC += tests/plain/runner.c
TEST_LIBS  :=
endif
NBD_SRC    := $(call not-tests,$(call find-c,nbd))
FUZZ_SRC   := $(wildcard fuzz/fuzz-*.c)

UNIT_SRC   := $(call only-tests,$(call find-c,$(LIB_DIRS) tools tests))
LONG_SRC   := $(wildcard tests/long-*.c)
SHELL_TESTS := $(sort $(foreach d,$(LIB_DIRS) tools fuse nbd tests fuzz bench, \
	$(wildcard $(d)/test-*.sh)))
LONG_TESTS := $(wildcard tests/long-*.sh)

# formats/qcow2/test-alloc.c becomes build/<variant>/tests/formats-qcow2-alloc
test-name  = $(subst test-,,$(subst /,-,$(basename $(1))))
test-bin   = $(B)/tests/$(call test-name,$(1))
UNIT_BINS  := $(foreach t,$(UNIT_SRC),$(call test-bin,$(t)))
LONG_BINS  := $(foreach t,$(LONG_SRC),$(call test-bin,$(t)))
REPLAY_BINS := $(if $(wildcard fuzz/replay-main.c), \
	$(patsubst fuzz/fuzz-%.c,$(B)/replay/%,$(FUZZ_SRC)))
FUZZ_BINS  := $(patsubst fuzz/fuzz-%.c,$(B)/fuzz/%,$(FUZZ_SRC))

# --- Build ------------------------------------------------------------------

SONAME := libgild.so.$(SOVERSION)
SOFILE := libgild.so.$(VERSION)

PRODUCTS := $(if $(TOOL_SRC),$(OUT)/gild) $(OUT)/libgild.a
ifeq ($(D),)
PRODUCTS += $(OUT)/libgild.so $(OUT)/gild.pc
PLUGIN   := $(if $(HAVE_NBDKIT),$(OUT)/nbdkit-gild-plugin.so)
endif

.PHONY: all
all: $(PRODUCTS) $(PLUGIN)
	$(if $(D)$(HAVE_NBDKIT),,@echo "no plugin for nbdkit: $(debian-nbdkit) is missing")

# Rewritten, and so everything rebuilt, only when the flags change.
FLAGS := $(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) $(ALL_LDFLAGS)
.PHONY: FORCE
$(B)/flags: FORCE
	@echo '$(subst ','\'',$(FLAGS))' | cmp -s - $@ || { \
		$(call need,$(LIB_MODULES) $(TOOL_MODULES) $(HEADER_MODULES)); mkdir -p $(B); \
		echo '$(subst ','\'',$(FLAGS))' >$@; }

$(O)/%.o: %.c $(B)/flags
	@mkdir -p $(@D)
	$(call say,CC,$@)$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) \
		$(if $(W),-Werror) -MMD -MP -c -o $@ $<

$(OUT)/libgild.a: $(call objects,$(LIB_SRC)) $(B)/flags
	@mkdir -p $(@D) && rm -f $@
	$(call say,AR,$@)ar rcs $@ $(filter %.o,$^)

# The tool's parts as an archive too, so that a unit test can reach them.
$(O)/libtools.a: $(call objects,$(TOOL_SRC)) $(B)/flags
	@mkdir -p $(@D) && rm -f $@
	$(call say,AR,$@)ar rcs $@ $(filter %.o,$^)

$(OUT)/gild: $(call objects,$(TOOL_SRC)) $(OUT)/libgild.a
	$(call say,LD,$@)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIB_LIBS) $(TOOL_LIBS)

build/$(SOFILE): $(call objects,$(LIB_SRC)) gild.map $(B)/flags
	$(call say,LD,$@)$(CC) -shared $(ALL_LDFLAGS) -Wl,-soname,$(SONAME) \
		-Wl,--version-script=gild.map -Wl,-z,defs -o $@ \
		$(filter %.o,$^) $(LIB_LIBS)

build/libgild.so: build/$(SOFILE)
	$(Q)ln -sf $(SOFILE) build/$(SONAME) && ln -sf $(SONAME) $@

build/nbdkit-gild-plugin.so: $(call objects,$(NBD_SRC)) $(OUT)/libgild.a
	$(call say,LD,$@)$(CC) -shared $(ALL_LDFLAGS) -Wl,--exclude-libs,ALL \
		-o $@ $^ $(LIB_LIBS)

make-pc = sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' \
	-e 's|@INCLUDEDIR@|$(INCLUDEDIR)|' -e 's|@VERSION@|$(VERSION)|' \
	-e 's|@REQUIRES@|$(LIB_MODULES)|' gild.pc.in

build/gild.pc: gild.pc.in Makefile
	@mkdir -p $(@D)
	$(call say,GEN,$@)$(make-pc) >$@

# --- Unit tests, fuzz targets -----------------------------------------------

$(B)/have-criterion:
	@$(call need,$(TEST_MODULES)); mkdir -p $(B); touch $@

# Criterion comes before the archives: the program's main is Criterion's.
define unit-rule
$(call test-bin,$(1)): $(call objects,$(1)) $(call objects,$(HELPER_SRC)) \
		$(O)/libtools.a $(OUT)/libgild.a
	@mkdir -p $$(@D)
	$$(call say,LD,$$@)$$(CC) $$(ALL_LDFLAGS) -o $$@ $$(filter %.o,$$^) \
		$$(TEST_LIBS) $$(filter %.a,$$^) $$(LIB_LIBS) $$(TOOL_LIBS)
$(call objects,$(1)): | $(B)/have-criterion
endef
$(foreach t,$(UNIT_SRC) $(LONG_SRC),$(eval $(call unit-rule,$(t))))
$(call objects,$(HELPER_SRC)): | $(B)/have-criterion

$(B)/replay/%: $(O)/fuzz/fuzz-%.o $(O)/fuzz/replay-main.o \
		$(filter-out %-main.o %/replay-main.o,$(call objects,$(filter-out \
		fuzz/fuzz-%,$(wildcard fuzz/*.c)))) $(OUT)/libgild.a
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIB_LIBS)

$(B)/fuzz/%: $(O)/fuzz/fuzz-%.o $(filter-out %/replay-main.o,$(call objects, \
		$(filter-out fuzz/fuzz-%,$(wildcard fuzz/*.c)))) $(OUT)/libgild.a
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) $(ALL_LDFLAGS) -fsanitize=fuzzer -o $@ $^ $(LIB_LIBS)

.PHONY: tests
tests: all $(UNIT_BINS) $(REPLAY_BINS)

.PHONY: tests-long
tests-long: tests $(LONG_BINS)

.PHONY: fuzz-bins
fuzz-bins: $(FUZZ_BINS)

# --- Checks -----------------------------------------------------------------

# The whole suite of one variant as arguments of scripts/run-tests.
unit-items  = $(patsubst build/$(1)/%,$(1):build/$(1)/%, \
	$(subst $(B)/,build/$(1)/,$(UNIT_BINS) $(REPLAY_BINS)))
shell-items = $(addprefix $(1):,$(SHELL_TESTS))
long-items  = $(subst $(B)/,build/$(1)/,$(addprefix $(1):, \
	$(LONG_BINS) $(LONG_TESTS)))
run-tests   = scripts/run-tests -j $(JOBS) $(if $(T),-k '$(T)')

.PHONY: deps
deps:
	@scripts/deps build test

.PHONY: check
check:
	@scripts/deps build test
	+@$(MAKE) all tests
	+@$(MAKE) check-layers check-headers
	+@$(MAKE) D=asan tests
	+@$(MAKE) D=ubsan tests
	+@$(MAKE) D=tsan tests
	@$(run-tests) $(call unit-items,release) $(call shell-items,release) \
		-l fast $(foreach v,asan ubsan tsan,$(call unit-items,$(v)))

.PHONY: check-fast
check-fast:
	@scripts/deps build test
	+@$(MAKE) tests
	@$(run-tests) -l fast $(call unit-items,$(VARIANT)) \
		$(call shell-items,$(VARIANT))

.PHONY: check-asan check-ubsan check-tsan
check-asan check-ubsan check-tsan: check-%:
	@scripts/deps build test
	+@$(MAKE) D=$* tests
	@$(run-tests) $(call unit-items,$*) $(call shell-items,$*)

# All there is at level "long", and everything under every sanitizer, which makes
# it several times as slow: so at a level that suits. Some 50 minutes with two
# processors. (The long-clients test belongs to check-clients.)
.PHONY: check-long
check-long:
	@scripts/deps build test fuzz
	+@$(MAKE) all tests-long
	+@$(MAKE) D=asan tests
	+@$(MAKE) D=ubsan tests
	+@$(MAKE) D=tsan tests
	+@$(MAKE) fuzz FUZZ_SECONDS='=3000'
	@$(run-tests) -t 3600 -l long $(call unit-items,release) \
		tsan:build/tsan/tests/tests-threads \
		$(filter-out %/long-clients.sh,$(call long-items,release)) \
		$(call shell-items,release) \
		-l normal $(call unit-items,asan) $(call unit-items,ubsan) \
		-l fast $(filter-out %/tests-threads,$(call unit-items,tsan)) \
		$(foreach v,asan ubsan tsan,$(call shell-items,$(v)))

.PHONY: check-clients
check-clients:
	@scripts/deps build test clients
	+@$(MAKE) all
	@$(run-tests) -t 1800 release:tests/test-clients.sh \
		release:tests/long-clients.sh

.PHONY: check-layers check-headers lint
check-layers:
	@scripts/check-layers
check-headers:
	@CC='$(CC)' scripts/check-headers $(ALL_CPPFLAGS)
lint:
	@scripts/lint

.PHONY: format
format:
	clang-format -i $(shell git ls-files '*.c' '*.h')

# tests/test-operations.sh sees to it that this was done.
.PHONY: operations
operations: all
	@scripts/operations >doc/operations.md.new
	@mv doc/operations.md.new doc/operations.md

.PHONY: fuzz
fuzz:
	@scripts/deps build fuzz
	+@$(MAKE) D=fuzz fuzz-bins
	@scripts/fuzz $(FUZZ_SECONDS) $(patsubst fuzz/fuzz-%.c,%,$(FUZZ_SRC))

.PHONY: demo
demo:
	@scripts/deps build demo
	+@$(MAKE) all
	@scripts/demo

.PHONY: bench
bench:
	@scripts/deps build bench
	+@$(MAKE) all
	@bench/run

# --- Manual, installation ---------------------------------------------------

PODS := $(sort $(wildcard tools/*.pod))
PAGES := $(patsubst tools/%.pod,build/man/%.1,$(PODS))
COMPLETIONS := $(wildcard tools/*.bash-completion)

.PHONY: man
man: $(PAGES)
build/man/%.1: tools/%.pod
	@mkdir -p $(@D)
	@command -v pod2man >/dev/null || { \
		echo "no manual pages: pod2man is missing (package perl)" >&2; exit 1; }
	$(call say,MAN,$@)pod2man -c 'gild manual' -r 'gild $(VERSION)' -s 1 \
		-n $(notdir $*) $< $@

.PHONY: install
install: all man
	install -d '$(DESTDIR)$(BINDIR)' '$(DESTDIR)$(LIBDIR)/pkgconfig' \
		'$(DESTDIR)$(INCLUDEDIR)'
	$(if $(TOOL_SRC),install -m 755 build/gild '$(DESTDIR)$(BINDIR)/gild')
	install -m 644 build/$(SOFILE) build/libgild.a '$(DESTDIR)$(LIBDIR)'
	ln -sf $(SOFILE) '$(DESTDIR)$(LIBDIR)/$(SONAME)'
	ln -sf $(SONAME) '$(DESTDIR)$(LIBDIR)/libgild.so'
	install -m 644 include/gild.h '$(DESTDIR)$(INCLUDEDIR)/gild.h'
	$(make-pc) >'$(DESTDIR)$(LIBDIR)/pkgconfig/gild.pc'
	$(if $(PLUGIN),install -d '$(DESTDIR)$(NBDKITDIR)' && install -m 755 \
		$(PLUGIN) '$(DESTDIR)$(NBDKITDIR)')
	$(if $(PAGES),install -d '$(DESTDIR)$(MANDIR)/man1' && \
		install -m 644 $(PAGES) '$(DESTDIR)$(MANDIR)/man1')
	$(if $(COMPLETIONS),install -d '$(DESTDIR)$(COMPDIR)' && \
		for c in $(COMPLETIONS); do install -m 644 $$c \
		'$(DESTDIR)$(COMPDIR)'/$$(basename $$c .bash-completion); done)

# A folder for the front of somebody's PATH: what asks for qemu-img gets gild.
.PHONY: install-compat
install-compat: install
	install -d '$(DESTDIR)$(COMPATDIR)'
	ln -srf '$(DESTDIR)$(BINDIR)/gild' '$(DESTDIR)$(COMPATDIR)/qemu-img'

.PHONY: clean help
clean:
	rm -rf build
help:
	@sed -n 's/^## \{0,1\}//p' Makefile

-include $(shell test -d $(O) && find $(O) -name '*.d')
