/*-------------------------------------------------------------------------
 *
 * registry.c
 *	  The hook table: loads, validates and finds backends.
 *
 * A backend comes in one of two ways.  A URL's scheme names the library
 * $libdir/tokenledger_<scheme>, which is loaded when it is first needed; or a
 * library in shared_preload_libraries registers itself through the rendezvous
 * variable TL_REGISTRY.  A name that is taken by the other way is refused at
 * registration; a library that is installed while the server runs does not
 * take the place of a registered backend.
 *
 * Nothing of a library is trusted before it is checked: PostgreSQL's magic
 * block, then ours, then each member of the table.  A library that fails is
 * an error of the targets that name it, never of the process, and is tried
 * again at the next look-up: nothing about failures is remembered.  (The
 * server keeps a library that it loaded, so a new file of that name may need
 * a new process.)
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/stat.h>

#include "compat.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "options.h"
#include "registry.h"
#include "storage/fd.h"
#include "target.h"
#include "utils/memutils.h"

#define LIBRARY_PREFIX		"tokenledger_"
#define INIT_FUNCTION		"tokenledger_backend_init"
#define NAME_CHARACTERS		"abcdefghijklmnopqrstuvwxyz0123456789_-"
#define MAX_SCHEME_LEN		32
#define MAX_STRUCT_SIZE		4096
#define MAX_ELEMENTS		1000	/* of options and migrations */

/* Through the last required callback. */
#define REQUIRED_SIZE		(offsetof(TlBackend, close) + sizeof(void *))

#define HINT_REBUILD \
	"Rebuild the library with the tokenledger_backend.h that is installed in this server's include directory."

typedef struct RegistryEntry
{
	struct RegistryEntry *next;
	char	   *scheme;			/* also an alias */
	const TlBackend *backend;	/* a copy of the core's size */
	void	   *handle;			/* of the library; NULL: registered */
} RegistryEntry;

/* Of the process, in TopMemoryContext; what is here was valid. */
static RegistryEntry *entries = NULL;

static const TlCore *register_backend(const TlBackend *backend);
static RegistryEntry *find_entry(const char *scheme);
static RegistryEntry *find_name(const char *name);
static const TlBackend *add_entry(const char *scheme,
								  const TlBackend *backend, void *handle);
static const TlBackend *load_backend(const char *scheme, char **error,
									 char **hint);
static const TlBackend *call_library(const char *library, void **handle,
									 char **error, char **hint);
static const TlBackend *use_backend(const char *scheme, const char *library,
									const TlBackend *backend, void *handle,
									char **error, char **hint);
static void refuse_unknown(const char *scheme, char **error, char **hint);
static void describe_error(const char *library, char **error, char **hint);
static bool scheme_valid(const char *scheme);
static bool library_exists(const char *scheme);
static char *library_path(const char *scheme);
static char *validate(const TlBackend *backend);
static char *validate_head(const TlBackend *backend);
static char *validate_limits(const TlBackend *backend);
static char *validate_options(const TlOption *options);
static char *validate_migrations(const TlMigration *migrations);

void
registry_init(void)
{
	TlRegisterCB callback = register_backend;
	void	  **variable = find_rendezvous_variable(TL_REGISTRY);

	memcpy(variable, &callback, sizeof(callback));
}

/*
 * The TlRegisterCB.  What is wrong is a warning, so that one bad library does
 * not keep the server from starting.
 */
static const TlCore *
register_backend(const TlBackend *backend)
{
	const char *wrong = backend == NULL ?
		"it has no table of callbacks" : validate(backend);

	if (wrong != NULL)
		ereport(WARNING,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("could not register a tokenledger backend: %s",
						wrong),
				 errhint(HINT_REBUILD)));
	else if (find_entry(backend->name) != NULL ||
			 find_name(backend->name) != NULL ||
			 library_exists(backend->name))
		ereport(WARNING,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("could not register tokenledger backend \"%s\": the name is taken",
						backend->name)));
	else
	{
		add_entry(backend->name, backend, NULL);
		return &tl_core;
	}
	return NULL;
}

const TlBackend *
registry_lookup(const char *scheme, char **error, char **hint)
{
	RegistryEntry *entry = find_entry(scheme);

	*error = NULL;
	*hint = NULL;
	if (entry != NULL)
		return entry->backend;
	if (!scheme_valid(scheme) || !library_exists(scheme))
	{
		refuse_unknown(scheme, error, hint);
		return NULL;
	}
	return load_backend(scheme, error, hint);
}

static RegistryEntry *
find_entry(const char *scheme)
{
	RegistryEntry *entry = entries;

	while (entry != NULL && strcmp(entry->scheme, scheme) != 0)
		entry = entry->next;
	return entry;
}

static RegistryEntry *
find_name(const char *name)
{
	RegistryEntry *entry = entries;

	while (entry != NULL && strcmp(entry->backend->name, name) != 0)
		entry = entry->next;
	return entry;
}

static RegistryEntry *
find_handle(const void *handle)
{
	RegistryEntry *entry = entries;

	while (entry != NULL && entry->handle != handle)
		entry = entry->next;
	return entry;
}

/*
 * Keeps a backend that was found valid.  The copy has the core's size, so
 * that a callback of a later version of the table reads as NULL in an older
 * library; what a newer library has beyond it is not known here.
 */
static const TlBackend *
add_entry(const char *scheme, const TlBackend *backend, void *handle)
{
	MemoryContext top = TopMemoryContext;
	RegistryEntry *entry = MemoryContextAlloc(top, sizeof(RegistryEntry));
	TlBackend  *copy = MemoryContextAllocZero(top, sizeof(TlBackend));

	memcpy(copy, backend, Min(backend->struct_size, sizeof(TlBackend)));
	if (copy->display_name == NULL)
		copy->display_name = copy->name;
	if (copy->features == NULL)
		copy->features = "";
	entry->scheme = MemoryContextStrdup(top, scheme);
	entry->backend = copy;
	entry->handle = handle;
	entry->next = entries;
	entries = entry;
	return copy;
}

static const TlBackend *
load_backend(const char *scheme, char **error, char **hint)
{
	char	   *library = registry_library(scheme);
	const TlBackend *backend;
	void	   *handle = NULL;

	backend = call_library(library, &handle, error, hint);
	return *error != NULL ? NULL :
		use_backend(scheme, library, backend, handle, error, hint);
}

/*
 * Loads the library and has it give its table.  An error that is thrown on
 * the way becomes *error.  NB: no subtransaction, since lanes load outside of
 * transactions; the loader leaves nothing behind that needs one.
 */
static const TlBackend *
call_library(const char *library, void **handle, char **error, char **hint)
{
	MemoryContext caller = CurrentMemoryContext;
	uint32		holdoff = InterruptHoldoffCount;
	const TlBackend *volatile backend = NULL;

	PG_TRY();
	{
		const TlBackend *(*init) (const TlCore *core);
		RegistryEntry *known;

		init = (const TlBackend *(*) (const TlCore *))
			load_external_function(library, INIT_FUNCTION, false, handle);
		known = init == NULL ? NULL : find_handle(*handle);
		if (init == NULL)
		{
			*error = psprintf("library \"%s\" is not usable: it has no function %s",
							  library, INIT_FUNCTION);
			*hint = pstrdup("It is not a tokenledger backend, or was built without exporting that function.");
		}
		else
			backend = known != NULL ? known->backend : init(&tl_core);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(caller);
		InterruptHoldoffCount = holdoff;	/* the error has reset it */
		describe_error(library, error, hint);
	}
	PG_END_TRY();
	return backend;
}

/* Turns the error being caught into text, and forgets it. */
static void
describe_error(const char *library, char **error, char **hint)
{
	ErrorData  *edata = CopyErrorData();

	FlushErrorState();
	*error = psprintf("library \"%s\" is not usable: %s%s%s", library,
					  edata->message, edata->detail != NULL ? ": " : "",
					  edata->detail != NULL ? edata->detail : "");
	*hint = pstrdup(edata->hint != NULL ? edata->hint :
					"Rebuild the library for this server.");
	FreeErrorData(edata);
}

/* Checks the table; an alias has the table of the library's first name. */
static const TlBackend *
use_backend(const char *scheme, const char *library,
			const TlBackend *backend, void *handle, char **error, char **hint)
{
	RegistryEntry *other;
	const char *wrong = backend == NULL ?
		"it has no table of callbacks" : validate(backend);

	if (wrong != NULL)
	{
		*error = psprintf("library \"%s\" is not usable: %s", library, wrong);
		*hint = pstrdup(HINT_REBUILD);
		return NULL;
	}
	other = find_name(backend->name);
	if (other == NULL)
		other = find_entry(backend->name);
	if (other != NULL && other->handle != handle)
	{
		*error = psprintf("library \"%s\" is not usable: the backend name \"%s\" is taken by %s",
						  library, backend->name, other->handle != NULL ?
						  registry_library(other->scheme) :
						  "a preloaded library");
		*hint = pstrdup("Remove one of them; an alias must be a symbolic link to the library.");
		return NULL;
	}
	return add_entry(scheme, backend, handle);
}

static void
refuse_unknown(const char *scheme, char **error, char **hint)
{
	List	   *schemes = registry_schemes();
	const char **names = palloc(sizeof(char *) * (list_length(schemes) + 1));
	const char *near;
	StringInfoData text;
	ListCell   *lc;
	int			n = 0;

	foreach(lc, schemes)
		names[n++] = lfirst(lc);
	initStringInfo(&text);
	near = closest_match(scheme, names, n);
	if (near != NULL)
		appendStringInfo(&text, "Perhaps you mean \"%s\". ", near);
	if (n == 0)
		appendStringInfoString(&text, "No backends are installed.");
	for (int i = 0; i < n; i++)
		appendStringInfo(&text, "%s%s", i == 0 ? "Available backends: " : ", ",
						 names[i]);
	if (n > 0)
		appendStringInfoChar(&text, '.');

	*hint = text.data;
	if (scheme_valid(scheme))
		*error = psprintf("there is no backend \"%s\"", scheme);
	else
		*error = pstrdup("a backend's name consists of lower-case letters, digits, underscores and hyphens");
}

static int
compare_schemes(const ListCell *a, const ListCell *b)
{
	return strcmp(lfirst(a), lfirst(b));
}

/* NB: no error if the directory cannot be read; the log says so. */
List *
registry_schemes(void)
{
	const int	prefix = strlen(LIBRARY_PREFIX);
	const int	suffix = strlen(DLSUFFIX);
	List	   *result = NIL;
	DIR		   *dir = AllocateDir(pkglib_path);
	struct dirent *file;

	for (RegistryEntry *entry = entries; entry != NULL; entry = entry->next)
		if (entry->handle == NULL)
			result = lappend(result, pstrdup(entry->scheme));

	while ((file = ReadDirExtended(dir, pkglib_path, LOG)) != NULL)
	{
		int			len = (int) strlen(file->d_name) - prefix - suffix;
		char	   *scheme;
		RegistryEntry *entry;

		if (len <= 0 || strncmp(file->d_name, LIBRARY_PREFIX, prefix) != 0 ||
			strcmp(file->d_name + prefix + len, DLSUFFIX) != 0)
			continue;
		scheme = pnstrdup(file->d_name + prefix, len);
		entry = find_entry(scheme);
		if (scheme_valid(scheme) && library_exists(scheme) &&
			(entry == NULL || entry->handle != NULL))
			result = lappend(result, scheme);
	}
	if (dir != NULL)
		FreeDir(dir);
	list_sort(result, compare_schemes);
	return result;
}

char *
registry_library(const char *scheme)
{
	RegistryEntry *entry = find_entry(scheme);

	if (entry != NULL && entry->handle == NULL)
		return NULL;
	return psprintf("$libdir/" LIBRARY_PREFIX "%s", scheme);
}

/* What may become part of a path: no separators, no dots. */
static bool
scheme_valid(const char *scheme)
{
	return *scheme != '\0' && strlen(scheme) <= MAX_SCHEME_LEN &&
		scheme[strspn(scheme, NAME_CHARACTERS)] == '\0';
}

static bool
library_exists(const char *scheme)
{
	struct stat st;

	return stat(library_path(scheme), &st) == 0 && S_ISREG(st.st_mode);
}

static char *
library_path(const char *scheme)
{
	return psprintf("%s/" LIBRARY_PREFIX "%s%s", pkglib_path, scheme,
					DLSUFFIX);
}

/*
 * What is wrong with a backend's table, as expected and found; NULL: nothing.
 * Reads the members in their order, since a wrong one tells nothing about
 * what follows.
 */
static char *
validate(const TlBackend *backend)
{
	char	   *wrong = validate_head(backend);

	if (wrong == NULL)
		wrong = validate_limits(backend);
	if (wrong == NULL)
		wrong = validate_options(backend->options);
	if (wrong == NULL)
		wrong = validate_migrations(backend->migrations);
	return wrong;
}

static char *
validate_head(const TlBackend *backend)
{
	if (backend->magic != TL_BACKEND_MAGIC)
		return psprintf("its magic number is 0x%08X, expected 0x%08X",
						backend->magic, TL_BACKEND_MAGIC);
	if (backend->struct_size < REQUIRED_SIZE ||
		backend->struct_size > MAX_STRUCT_SIZE ||
		backend->struct_size % sizeof(void *) != 0)
		return psprintf("the size of its table is %u, expected %u to %u",
						backend->struct_size, (unsigned) REQUIRED_SIZE,
						(unsigned) sizeof(TlBackend));
	if (backend->name == NULL || !scheme_valid(backend->name))
		return pstrdup("its name does not consist of 1 to 32 lower-case letters, digits, underscores and hyphens");
	if (backend->open == NULL || backend->send == NULL ||
		backend->close == NULL)
		return psprintf("it lacks the required callback \"%s\"",
						backend->open == NULL ? "open" :
						backend->send == NULL ? "send" : "close");
	return NULL;
}

static char *
validate_limits(const TlBackend *backend)
{
	if (backend->max_rows < 0 || backend->good_rows < 0 ||
		backend->max_lanes < 0 || backend->max_bytes < 0)
		return pstrdup("one of its limits is negative");
	if (backend->max_rows > 0 && backend->good_rows > backend->max_rows)
		return psprintf("its good_rows is %d, which is above its max_rows, %d",
						backend->good_rows, backend->max_rows);
	return NULL;
}

static char *
validate_options(const TlOption *options)
{
	const TlOption *core = target_core_options();

	for (int i = 0; options != NULL && options[i].name != NULL; i++)
	{
		char	   *wrong = option_check(&options[i]);
		const TlOption *same = option_find(core, options[i].name);

		if (wrong != NULL)
			return wrong;
		if (same != NULL && same->type != options[i].type)
			return psprintf("its option \"%s\" is of type %s, expected %s",
							same->name, option_type_name(options[i].type),
							option_type_name(same->type));
		for (int j = 0; j < i; j++)
			if (strcmp(options[j].name, options[i].name) == 0)
				return psprintf("option \"%s\" is declared twice",
								options[i].name);
		if (i >= MAX_ELEMENTS)
			return pstrdup("its array of options has no end");
	}
	return NULL;
}

static char *
validate_migrations(const TlMigration *migrations)
{
	for (int i = 0; migrations != NULL && migrations[i].version != 0; i++)
	{
		int32		previous = i == 0 ? 0 : migrations[i - 1].version;

		if (migrations[i].version <= previous)
			return psprintf("its migrations do not ascend: %d after %d",
							migrations[i].version, previous);
		if (migrations[i].oldest_compatible > migrations[i].version)
			return psprintf("its migration %d is compatible with ledgers from version %d only",
							migrations[i].version,
							migrations[i].oldest_compatible);
		if (i >= MAX_ELEMENTS)
			return pstrdup("its array of migrations has no end");
	}
	return NULL;
}

int32
registry_newest_version(const TlBackend *backend)
{
	int32		newest = 0;

	for (const TlMigration *m = backend->migrations; m && m->version; m++)
		newest = m->version;
	return newest;
}
