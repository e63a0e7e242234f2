# What the Makefiles of the libpq backends share.  "here" is the backend's
# own directory, "tlpg" this one; OBJS lists the backend's own objects.
#
# A backend compiles these sources in its own directory: two makes must never
# write one object file.

vpath %.c $(tlpg) $(tlpg)/../common

OBJS += session.o connection.o query.o table.o send.o resolve.o schema.o \
	audit.o watermark.o encode.o names.o sqlstate.o tl_verdict.o

PG_CONFIG ?= pg_config
PG_CPPFLAGS = -I$(tlpg) -I$(here)/../../src/include \
	-I$(shell $(PG_CONFIG) --includedir) \
	-DPGDLLEXPORT='__attribute__((visibility("default")))'
PG_CFLAGS = -fvisibility=hidden
SHLIB_LINK = -L$(shell $(PG_CONFIG) --libdir) -lpq

override with_llvm = no
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

$(OBJS): $(wildcard $(here)/*.h $(tlpg)/*.h) $(tlpg)/../common/tl_verdict.h \
	$(here)/../../src/include/tokenledger_backend.h

install: install-alias
install-alias: install-lib
	ln -sf $(MODULE_big)$(DLSUFFIX) '$(DESTDIR)$(pkglibdir)/$(ALIAS)$(DLSUFFIX)'

uninstall: uninstall-alias
uninstall-alias:
	rm -f '$(DESTDIR)$(pkglibdir)/$(ALIAS)$(DLSUFFIX)'

.PHONY: install-alias uninstall-alias
