/*-------------------------------------------------------------------------
 *
 * introspect.c
 *	  SQL functions that show backends, their options and the settings.
 *
 * None does any I/O to a store, and none shows a secret: what they show of an
 * entry of tokenledger.targets is what the parser found to be none.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "compat.h"
#include "funcapi.h"
#include "guc.h"
#include "miscadmin.h"
#include "options.h"
#include "registry.h"
#include "routing.h"
#include "target.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"	/* get_database_name(), where it has moved */

#define MAX_COLUMNS		15

/* A row being put together, from the left. */
typedef struct Row
{
	int			n;
	Datum		values[MAX_COLUMNS];
	bool		nulls[MAX_COLUMNS];
} Row;

static void emit_backend(ReturnSetInfo *rsinfo, const char *scheme);
static void emit_option(ReturnSetInfo *rsinfo, const TlOption *option);
static void emit_target(ReturnSetInfo *rsinfo, const Target *target);
static bool has_feature(const TlBackend *backend, const char *feature);
static char *describe_option(const TlOption *option);
static Datum values_array(const char *const *values);
static void add_datum(Row *row, Datum value, bool isnull);
static void add_text(Row *row, const char *text);
static void emit_row(ReturnSetInfo *rsinfo, Row *row);

TL_FUNCTION_INFO(tl_backends);
TL_FUNCTION_INFO(tl_backend_options);
TL_FUNCTION_INFO(tl_configured_targets);

/* A row for every scheme that a URL can have, also for those that fail. */
Datum
tl_backends(PG_FUNCTION_ARGS)
{
	ListCell   *lc;

	InitMaterializedSRF(fcinfo, 0);
	foreach(lc, registry_schemes())
		emit_backend((ReturnSetInfo *) fcinfo->resultinfo, lfirst(lc));
	return (Datum) 0;
}

static void
emit_backend(ReturnSetInfo *rsinfo, const char *scheme)
{
	static const char *const features[] = {"jsonb", "upsert", "returning",
	"window_functions", "cte", "streaming", "compression"};
	char	   *error;
	char	   *hint;
	const TlBackend *backend = registry_lookup(scheme, &error, &hint);
	bool		failed = backend == NULL;
	int32		good;
	Row			row = {0};

	add_text(&row, scheme);
	add_text(&row, failed ? NULL : backend->display_name);
	add_text(&row, registry_library(scheme));
	for (int i = 0; i < lengthof(features); i++)
		add_datum(&row,
				  BoolGetDatum(!failed && has_feature(backend, features[i])),
				  failed);

	/* 0 is the table's way to say that there is no limit. */
	good = failed ? 0 : backend->good_rows > 0 ? backend->good_rows :
		backend->max_rows > 0 ? Min(guc_batch_rows, backend->max_rows) :
		guc_batch_rows;
	add_datum(&row, Int32GetDatum(failed ? 0 : backend->max_rows),
			  failed || backend->max_rows == 0);
	add_datum(&row, Int32GetDatum(good), failed);
	add_datum(&row, Int64GetDatum(failed ? 0 : backend->max_bytes),
			  failed || backend->max_bytes == 0);
	add_datum(&row, Int32GetDatum(failed ? 0 : backend->max_lanes),
			  failed || backend->max_lanes == 0);
	add_text(&row, error);
	emit_row(rsinfo, &row);
}

/* Is it one of the words of backend->features? */
static bool
has_feature(const TlBackend *backend, const char *feature)
{
	const char *p = backend->features;
	size_t		len = strlen(feature);

	while (*p != '\0')
	{
		size_t		word = strcspn(p, " ");

		if (word == len && strncmp(p, feature, len) == 0)
			return true;
		p += word;
		p += strspn(p, " ");
	}
	return false;
}

/* What a URL of this backend may set: its own options, then the core's. */
Datum
tl_backend_options(PG_FUNCTION_ARGS)
{
	char	   *scheme = text_to_cstring(PG_GETARG_TEXT_PP(0));
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	char	   *error;
	char	   *hint;
	const TlBackend *backend;

	InitMaterializedSRF(fcinfo, 0);
	backend = registry_lookup(scheme, &error, &hint);
	if (backend == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("%s", error),
				 hint != NULL ? errhint("%s", hint) : 0));

	for (const TlOption *option = backend->options;
		 option != NULL && option->name != NULL; option++)
		emit_option(rsinfo, option);
	for (const TlOption *option = target_core_options();
		 option->name != NULL; option++)
		if (option_find(backend->options, option->name) == NULL)
			emit_option(rsinfo, option);
	return (Datum) 0;
}

static void
emit_option(ReturnSetInfo *rsinfo, const TlOption *option)
{
	bool		limited = option->min != 0 || option->max != 0;
	Row			row = {0};

	if (option->flags & TL_OPT_PREFIX)
		add_text(&row, psprintf("%s*", option->name));
	else
		add_text(&row, option->name);
	add_text(&row, option_type_name(option->type));
	add_datum(&row, BoolGetDatum(option->flags & TL_OPT_REQUIRED), false);
	add_datum(&row, BoolGetDatum(option->flags & TL_OPT_SECRET), false);
	add_datum(&row, BoolGetDatum(option->flags & TL_OPT_DESTINATION), false);
	add_text(&row, option->default_value);
	add_datum(&row, Int64GetDatum(option->min), !limited);
	add_datum(&row, Int64GetDatum(option->max), !limited);
	if (option->type == TL_ENUM_OPT)
		add_datum(&row, values_array(option->values), false);
	else
		add_datum(&row, (Datum) 0, true);
	add_text(&row, describe_option(option));
	emit_row(rsinfo, &row);
}

/* A secret is not written under its own name: say under which. */
static char *
describe_option(const TlOption *option)
{
	const char *text = option->description;

	if (!(option->flags & TL_OPT_SECRET))
		return text != NULL ? pstrdup(text) : NULL;
	return psprintf("%s%sgiven as %s_file (path) or %s_env (environment variable)",
					text != NULL ? text : "", text != NULL ? "; " : "",
					option->name, option->name);
}

static Datum
values_array(const char *const *values)
{
	ArrayBuildState *state = NULL;

	for (; *values != NULL; values++)
		state = accumArrayResult(state, CStringGetTextDatum(*values), false,
								 TEXTOID, CurrentMemoryContext);
	return makeArrayResult(state, CurrentMemoryContext);
}

/* The entries of tokenledger.targets that concern this database. */
Datum
tl_configured_targets(PG_FUNCTION_ARGS)
{
	ListCell   *lc;

	InitMaterializedSRF(fcinfo, 0);
	foreach(lc, target_load_all(get_database_name(MyDatabaseId)))
	{
		routing_check(lfirst(lc));
		emit_target((ReturnSetInfo *) fcinfo->resultinfo, lfirst(lc));
	}
	return (Datum) 0;
}

static void
emit_target(ReturnSetInfo *rsinfo, const Target *target)
{
	bool		valid = target->error == NULL;
	Row			row = {0};

	add_text(&row, target->name);
	add_text(&row, target->backend != NULL ? target->backend->name : NULL);
	add_text(&row, target->destination);
	add_datum(&row, Int32GetDatum(target->lanes), !valid);
	add_text(&row, target->error);
	add_text(&row, target->hint);
	emit_row(rsinfo, &row);
}

static void
add_datum(Row *row, Datum value, bool isnull)
{
	Assert(row->n < MAX_COLUMNS);
	row->values[row->n] = value;
	row->nulls[row->n] = isnull;
	row->n++;
}

/* NULL for NULL. */
static void
add_text(Row *row, const char *text)
{
	add_datum(row, text != NULL ? CStringGetTextDatum(text) : (Datum) 0,
			  text == NULL);
}

/* NB: a script of another version may declare other columns. */
static void
emit_row(ReturnSetInfo *rsinfo, Row *row)
{
	if (rsinfo->setDesc->natts != row->n)
		elog(ERROR, "function returns %d columns, %d expected", row->n,
			 rsinfo->setDesc->natts);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, row->values,
						 row->nulls);
}
