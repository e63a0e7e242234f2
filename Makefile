# tokenledger: the core, its backends and its tests.  Needs only PostgreSQL's
# development files (PGXS).
#
#	make				builds the core and each backend whose libraries are here
#	make install		installs them; says which backends were left out and why
#	make installcheck	regression and isolation tests in the server at PGHOST
#						and PGPORT; PRELOADED=1 adds those that need the server
#						set up as test/tokenledger.conf, TAP_TESTS=1 the TAP tests
#	make test			everything, in servers of its own: see CONTRIBUTING.md
#
# Variables: PG_CONFIG, BACKENDS (names below backends/; default: all that
# probe well), WERROR=1 (every warning an error), DESTDIR, VPATH.

MODULE_big = tokenledger
EXTENSION = tokenledger
PG_CONFIG ?= pg_config

# Known before PGXS is included, where srcdir is not set yet.
ifdef VPATH
top := $(abspath $(VPATH))
else
top := $(patsubst %/,%,$(dir $(abspath $(firstword $(MAKEFILE_LIST)))))
endif
in_tree := $(filter $(CURDIR),$(top))

OBJS = $(patsubst $(top)/%.c,%.o,$(sort $(wildcard $(top)/src/*.c)))
DATA = $(patsubst $(top)/%,%,$(sort $(wildcard $(top)/sql/tokenledger--*.sql)))
HEADERS_tokenledger = src/include/tokenledger_backend.h
PGFILEDESC = "tokenledger - ledger of LLM calls, forwarded to analytics stores"
PG_CPPFLAGS = -I$(top)/src/include

# Only what is marked PGDLLEXPORT leaves the library: PGXS does it from 16
# on, older versions need both options.
PG_CFLAGS = -fvisibility=hidden
PG_CPPFLAGS += -DPGDLLEXPORT='__attribute__((visibility("default")))'

# Tests in their order; one that is not named here runs after the others.
# Those of REGRESS_PRELOAD need test/tokenledger.conf.
REGRESS_ORDER = versions comments ledger ingest guard record views grants \
	settings
REGRESS_PRELOAD = prepared
tests_in = $(sort $(basename $(notdir $(wildcard $(top)/test/$(1)))))
in_order = $(filter $(2),$(1)) $(filter-out $(1),$(2))

regress_found := $(call tests_in,sql/*.sql)
REGRESS = $(call in_order,$(REGRESS_ORDER), \
		$(filter-out $(REGRESS_PRELOAD),$(regress_found))) \
	$(if $(PRELOADED),$(filter $(REGRESS_PRELOAD),$(regress_found)))
REGRESS_OPTS = --inputdir=$(top)/test
ISOLATION = $(call tests_in,specs/*.spec)
ISOLATION_OPTS = --inputdir=$(top)/test --outputdir=.
# pg_regress looks for expected/ where it runs.
REGRESS_PREP = $(if $(in_tree),,$(CURDIR)/expected)
PROVE_TESTS = $(wildcard $(top)/test/t/*.pl)
EXTRA_CLEAN = results regression.diffs regression.out \
	$(if $(in_tree),,$(CURDIR)/expected)

# For every sub-make too: COPT is PGXS's own door for more flags.
ifdef WERROR
CLANG_FLAGS := $(if $(findstring clang,$(shell $(CC) --version 2>&1)), \
	-Wno-unknown-warning-option -Wno-ignored-attributes \
	-Wno-ignored-optimization-argument)
override COPT += -Wall -Wextra -Werror -Wno-unused-parameter \
	-Wno-sign-compare $(CLANG_FLAGS)
export COPT
endif

# No bitcode for the server's JIT: nothing here is worth inlining into a
# query, and the clang that the server was built with would be needed.
override with_llvm = no

PGXS := $(shell $(PG_CONFIG) --pgxs)
ifeq ($(PGXS),)
$(error $(PG_CONFIG) not found: install PostgreSQL's development files or set PG_CONFIG)
endif
include $(PGXS)

PROVE_FLAGS += -I $(top)/test/t/lib
export TOKENLEDGER_TREE := $(top)

$(OBJS): $(wildcard $(top)/src/include/*.h) | $(CURDIR)/src
$(CURDIR)/src:
	$(MKDIR_P) $@
$(CURDIR)/expected:
	ln -s $(top)/expected $@

# Backends.  backends/<name>/probe.sh exits with 0, or prints the reason.
# The examples are built by people who read them, against the installed
# header.
backends_found := $(patsubst $(top)/backends/%/Makefile,%, \
	$(sort $(wildcard $(top)/backends/*/Makefile)))
backends_all := $(filter-out example_%,$(backends_found))
probe = $(shell PG_CONFIG='$(PG_CONFIG)' CC='$(CC)' \
	sh $(top)/backends/$(1)/probe.sh >/dev/null 2>&1 && echo $(1))
ifndef BACKENDS
BACKENDS := $(foreach b,$(backends_all),$(call probe,$(b)))
endif
left_out = $(filter-out $(BACKENDS),$(backends_all))

# Each sub-directory is a PGXS build of its own, in a VPATH build below the
# build directory.
sub_make = +$(MKDIR_P) $(1) && $(MAKE) -C $(1) \
	$(if $(in_tree),,-f $(top)/$(1)/Makefile VPATH=$(top)/$(1)) \
	PG_CONFIG='$(PG_CONFIG)' with_llvm=no \
	$(if $(WERROR),COPT='$(COPT)')

backend_targets = $(addprefix backend-$(1)-,$(BACKENDS))
$(call backend_targets,all): backend-all-%:
	$(call sub_make,backends/$*) all
$(call backend_targets,install): backend-install-%: backend-all-%
	$(call sub_make,backends/$*) install
$(call backend_targets,uninstall): backend-uninstall-%:
	$(call sub_make,backends/$*) uninstall

all: $(call backend_targets,all)
install: $(call backend_targets,install)
uninstall: $(call backend_targets,uninstall)

# Said after all libraries, whatever the order in which -j builds.
all install: report-backends
report-backends: all-lib $(call backend_targets,all) \
		$(if $(filter install,$(MAKECMDGOALS)), \
			install-lib $(call backend_targets,install))
	@echo 'tokenledger: with backends: $(strip $(or $(BACKENDS),none))'
	@for b in $(left_out); do \
		why=`PG_CONFIG='$(PG_CONFIG)' CC='$(CC)' \
			sh $(top)/backends/$$b/probe.sh 2>&1 | tail -n 1`; \
		echo "tokenledger: without $$b: $${why:-not in BACKENDS}"; done

# Modules that only tests load, and the example; the example needs the
# installed header.
test_modules := $(patsubst $(top)/%/Makefile,%, \
	$(sort $(wildcard $(top)/test/modules/*/Makefile)) \
	$(wildcard $(top)/backends/example_*/Makefile))
$(addprefix test-module-,$(subst /,+,$(test_modules))): test-module-%:
	$(call sub_make,$(subst +,/,$*)) $(TEST_MODULES_GOAL)
TEST_MODULES_GOAL = install
install-test-modules: $(addprefix test-module-,$(subst /,+,$(test_modules)))

# Also of backends whose libraries have gone since they were built.
clean_dirs := $(addprefix backends/,$(backends_found)) \
	$(filter test/%,$(test_modules))
clean_targets := $(addprefix clean-,$(subst /,+,$(clean_dirs)))
$(clean_targets): clean-%:
	$(call sub_make,$(subst +,/,$*)) clean
clean-unit:
	rm -rf test/unit/build
clean: $(clean_targets) clean-unit

test:
	bash $(top)/test/run

# For test/run: what it has to see a result of.
list-regress list-isolation:
	@for t in $(if $(filter list-regress,$@),$(REGRESS),$(ISOLATION)); \
		do echo $$t; done

.PHONY: report-backends install-test-modules clean-unit test list-regress \
	list-isolation $(clean_targets) $(call backend_targets,all) \
	$(call backend_targets,install) $(call backend_targets,uninstall) \
	$(addprefix test-module-,$(subst /,+,$(test_modules)))
