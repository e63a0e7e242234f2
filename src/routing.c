/*-------------------------------------------------------------------------
 *
 * routing.c
 *	  Which events a target gets, and what of them: the options columns,
 *	  exclude, hash and filter.
 *
 * They keep data from a store, so a mistake in them never means that more is
 * sent: an entry that is not understood in every word is invalid.
 *
 * A column that is NOT NULL in the ledger cannot be left out: stores declare
 * it so, or order and partition their tables by it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "admin.h"
#include "compat.h"
#include "routing.h"

#define MIN_KEY			16		/* bytes; a shorter one can be guessed */
#define ALL_COLUMNS		((UINT64CONST(1) << LEDGER_NCOLUMNS) - 1)

TL_FUNCTION_INFO(tl_routing);

static uint64 column_list(Target *target, const char *option);
static uint64 column_bit(Target *target, const char *option,
						 const char *name);
static void check_required(Target *target);
static void check_hashed(Target *target);
static void check_key(Target *target);
static bool key_given(const Target *target);
static uint64 fingerprint(const Target *target);
static Datum names_array(uint64 columns);
static Oid	find_ledger(void);

void
routing_resolve(Target *target)
{
	const Options *options = target->options;
	bool		chosen = options_given(options, "columns");

	if (target->error != NULL)
		return;
	if (chosen && options_given(options, "exclude"))
	{
		target->error = pstrdup("options \"columns\" and \"exclude\" exclude each other");
		return;
	}
	target->unsent = chosen ? ALL_COLUMNS & ~column_list(target, "columns") :
		column_list(target, "exclude");
	target->hashed = column_list(target, "hash");
	check_required(target);
	check_hashed(target);
	check_key(target);
	target->filter = options_get(options, "filter");
	if (target->filter != NULL && target->error == NULL &&
		target->filter[strspn(target->filter, " ")] == '\0')
		target->error = pstrdup("option \"filter\" is empty");
	target->routing = fingerprint(target);
}

/* Bits of the columns that an option lists; 0: it is not given. */
static uint64
column_list(Target *target, const char *option)
{
	const char *value = options_get(target->options, option);
	uint64		columns = 0;
	char	   *item;

	if (value == NULL)
		return 0;
	item = pstrdup(value);
	while (item != NULL && target->error == NULL)
	{
		char	   *comma = strchr(item, ',');

		if (comma != NULL)
			*comma++ = '\0';
		columns |= column_bit(target, option, item);
		item = comma;
	}
	return columns;
}

static uint64
column_bit(Target *target, const char *option, const char *name)
{
	char	   *copy = pstrdup(name + strspn(name, " "));
	int			len = strlen(copy);
	int			number;

	while (len > 0 && copy[len - 1] == ' ')
		copy[--len] = '\0';
	number = ledger_column_number(copy);
	if (number >= 0)
		return UINT64CONST(1) << number;
	target->error = psprintf("option \"%s\" names a column that events do not have: \"%s\"",
							 option, option_shown(copy));
	target->hint = psprintf("Columns, separated by commas: %s.",
							routing_columns(ALL_COLUMNS));
	return 0;
}

int
ledger_column_number(const char *name)
{
	for (int i = 0; i < LEDGER_NCOLUMNS; i++)
		if (strcmp(ledger_columns[i].name, name) == 0)
			return i;
	return -1;
}

static void
check_required(Target *target)
{
	uint64		required = 0;

	for (int i = 0; i < LEDGER_NCOLUMNS; i++)
		if (!ledger_columns[i].nullable)
			required |= UINT64CONST(1) << i;
	if ((target->unsent & required) == 0 || target->error != NULL)
		return;
	if (options_given(target->options, "columns"))
		target->error = psprintf("option \"columns\" lacks %s",
								 routing_columns(target->unsent & required));
	else
		target->error = psprintf("option \"exclude\" names %s",
								 routing_columns(target->unsent & required));
	target->hint = psprintf("These columns are sent to every store: %s.",
							routing_columns(required));
}

static void
check_hashed(Target *target)
{
	uint64		texts = 0;

	if (target->error != NULL)
		return;
	for (int i = 0; i < LEDGER_NCOLUMNS; i++)
		if (ledger_columns[i].type == TL_TEXT)
			texts |= UINT64CONST(1) << i;
	if ((target->hashed & ~texts) != 0)
	{
		target->error = psprintf("option \"hash\" names columns that are not text: %s",
								 routing_columns(target->hashed & ~texts));
		target->hint = psprintf("Columns that can be hashed: %s.",
								routing_columns(texts));
	}
	else if ((target->hashed & target->unsent) != 0)
	{
		uint64		both = target->hashed & target->unsent;

		target->error = psprintf("option \"hash\" names columns that are not sent: %s",
								 routing_columns(both));
	}
}

/* NB: a key without hash is probably a hash that was forgotten. */
static void
check_key(Target *target)
{
	StringInfoData key;

	if (target->error != NULL)
		return;
	if (target->hashed != 0 && !key_given(target))
	{
		target->error = pstrdup("option \"hash\" needs a key");
		target->hint = pstrdup("Put it into a file that only the server can read, and name the file by the option hash_key_file.");
	}
	else if (target->hashed == 0 && key_given(target))
		target->error = pstrdup("option \"hash_key\" is given without \"hash\"");
	else if (target->hashed != 0)
	{
		initStringInfo(&key);
		(void) routing_read_key(target, &key, &target->error);
		explicit_bzero(key.data, key.maxlen);
		pfree(key.data);
	}
}

static bool
key_given(const Target *target)
{
	return options_given(target->options, "hash_key_file") ||
		options_given(target->options, "hash_key_env");
}

bool
routing_read_key(const Target *target, StringInfo out, char **error)
{
	if (!options_secret(target->options, "hash_key", out, error))
		return false;
	if (out->len >= MIN_KEY)
		return true;
	*error = psprintf("the key of option \"hash\" is shorter than %d bytes",
					  MIN_KEY);
	return false;
}

char *
routing_columns(uint64 columns)
{
	StringInfoData names;

	initStringInfo(&names);
	for (int i = 0; i < LEDGER_NCOLUMNS; i++)
		if ((columns & (UINT64CONST(1) << i)) != 0)
			appendStringInfo(&names, "%s%s", names.len > 0 ? ", " : "",
							 ledger_columns[i].name);
	return names.data;
}

/* 0: everything is sent as it is. */
static uint64
fingerprint(const Target *target)
{
	uint64		hash;
	uint64		masks[2] = {target->unsent, target->hashed};

	if (target->unsent == 0 && target->hashed == 0 && target->filter == NULL)
		return 0;
	hash = hash_bytes_extended((const unsigned char *) masks, sizeof(masks),
							   0);
	if (target->filter != NULL)
		hash = hash_bytes_extended((const unsigned char *) target->filter,
								   strlen(target->filter), hash);
	return hash;
}

void
routing_check(Target *target)
{
	Oid			ledger = find_ledger();
	char	   *error;

	if (target->error != NULL || target->filter == NULL ||
		!OidIsValid(ledger))
		return;
	if (filter_compile_guarded(target->filter, ledger, &error) != NULL)
		return;
	target->error = psprintf("option \"filter\" %s", error);
	target->hint = psprintf("SELECT * FROM token_ledger.routing('%s') shows PostgreSQL's own message.",
							target->name);
}

/* routing(target text, OUT columns text[], OUT hashed text[], OUT filter) */
Datum
tl_routing(PG_FUNCTION_ARGS)
{
	const Target *target =
		admin_find_target(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	TupleDesc	desc;
	Datum		values[3];
	bool		nulls[3] = {false, false, target->filter == NULL};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[0] = names_array(ALL_COLUMNS & ~target->unsent);
	values[1] = names_array(target->hashed);
	values[2] = (Datum) 0;
	if (target->filter != NULL)
		values[2] = CStringGetTextDatum(filter_compile(target->filter,
													   find_ledger()));
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc),
													  values, nulls)));
}

static Datum
names_array(uint64 columns)
{
	ArrayBuildState *state = initArrayResult(TEXTOID, CurrentMemoryContext,
											 false);

	for (int i = 0; i < LEDGER_NCOLUMNS; i++)
	{
		Datum		name = CStringGetTextDatum(ledger_columns[i].name);

		if ((columns & (UINT64CONST(1) << i)) != 0)
			state = accumArrayResult(state, name, false, TEXTOID,
									 CurrentMemoryContext);
	}
	return makeArrayResult(state, CurrentMemoryContext);
}

static Oid
find_ledger(void)
{
	Oid			schema = get_namespace_oid("token_ledger", true);

	return OidIsValid(schema) ?
		get_relname_relid("token_ledger_events", schema) : InvalidOid;
}
