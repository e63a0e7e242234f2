/*-------------------------------------------------------------------------
 *
 * table.c
 *	  What the remote table looks like, and whether events fit into it.
 *
 * Looked up on each new connection before anything is sent, since somebody
 * may have changed the table while we were away.  A change under a living
 * connection shows itself: ON CONFLICT (event_id) fails when its index is
 * gone, and each send compares a digest of the columns.
 *
 * Column types are compared exactly.  The binary format of COPY does not
 * convert, and a numeric of smaller scale would round without a word.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"
#include "tlpg.h"

/* Types of pg_type.dat; fixed for ever. */
#define OID_INT8			20
#define OID_TEXT			25
#define OID_FLOAT8			701
#define OID_VARCHAR			1043
#define OID_TIMESTAMPTZ		1184
#define OID_NUMERIC			1700
#define OID_UUID			2950
#define OID_JSONB			3802

#define NUMERIC_TYPMOD(precision, scale) \
	((((precision) << 16) | (scale)) + 4)

const TlpgExpected tlpg_expected[] = {
	{"event_id", OID_UUID, -1, "uuid", true, 100},
	{"trace_id", OID_UUID, -1, "uuid", false, 100},
	{"span_id", OID_UUID, -1, "uuid", false, 100},
	{"parent_span_id", OID_UUID, -1, "uuid", false, 100},
	{"timestamp", OID_TIMESTAMPTZ, -1, "timestamp with time zone", true, 100},
	{"duration_ms", OID_FLOAT8, -1, "double precision", false, 100},
	{"provider", OID_TEXT, -1, "text", true, 100},
	{"model", OID_TEXT, -1, "text", true, 100},
	{"input_tokens", OID_INT8, -1, "bigint", true, 100},
	{"output_tokens", OID_INT8, -1, "bigint", true, 100},
	{"total_tokens", OID_INT8, -1, "bigint", true, 100},
	{"cached_tokens", OID_INT8, -1, "bigint", false, 101},
	{"cost_usd", OID_NUMERIC, NUMERIC_TYPMOD(18, 8), "numeric(18,8)", false, 100},
	{"endpoint", OID_TEXT, -1, "text", false, 100},
	{"request_type", OID_TEXT, -1, "text", false, 100},
	{"user_id", OID_TEXT, -1, "text", false, 100},
	{"session_id", OID_TEXT, -1, "text", false, 100},
	{"organization_id", OID_TEXT, -1, "text", false, 100},
	{"app_name", OID_TEXT, -1, "text", false, 100},
	{"environment", OID_TEXT, -1, "text", false, 100},
	{"status", OID_TEXT, -1, "text", false, 100},
	{"error_type", OID_TEXT, -1, "text", false, 100},
	{"error_message", OID_TEXT, -1, "text", false, 100},
	{"metadata", OID_JSONB, -1, "jsonb", false, 100},
	{"request_preview", OID_TEXT, -1, "text", false, 100},
	{"response_preview", OID_TEXT, -1, "text", false, 100},
	{"feature", OID_TEXT, -1, "text", false, 103},
	{"page", OID_TEXT, -1, "text", false, 103},
	{"component", OID_TEXT, -1, "text", false, 103},
	{"team", OID_TEXT, -1, "text", false, 103},
	{"project", OID_TEXT, -1, "text", false, 103},
	{"cost_center", OID_TEXT, -1, "text", false, 103},
	{"metadata_extra", OID_JSONB, -1, "jsonb", false, 103},
	{.name = NULL}
};

/* What a TlType is called in PostgreSQL; indexed by TlType. */
static const Oid type_oids[] = {
	[TL_UUID] = OID_UUID,
	[TL_TIMESTAMP] = OID_TIMESTAMPTZ,
	[TL_FLOAT64] = OID_FLOAT8,
	[TL_INT64] = OID_INT8,
	[TL_DECIMAL] = OID_NUMERIC,
	[TL_TEXT] = OID_TEXT,
	[TL_JSON] = OID_JSONB
};

static void append_table_query(TlpgState *state, StringInfo sql);
static void append_key_check(StringInfo sql);
static void append_interference(StringInfo sql);
static void read_table(TlpgState *state, TlpgTable *table);
static bool load_columns(TlpgState *state, TlpgTable *table,
						 TlVerdict *verdict);
static void read_columns(const PGresult *rows, TlpgTable *table);
static bool type_fits(const TlpgColumn *column, Oid expected);
static const TlpgExpected *find_expected(const char *name);
static void compare_expected(const TlpgTable *table, int32 version,
							 StringInfo out, StringInfo fatal);
static void compare_extra(const TlpgTable *table, StringInfo out,
						  StringInfo fatal);
static void list_properties(const TlpgTable *table, StringInfo out,
							StringInfo fatal);
static void note(StringInfo out, const char *fmt,...)
			pg_attribute_printf(2, 3);

/*
 * Makes state->remote describe the table and decides the session's guarantee.
 * Does nothing if it was done on this connection.
 */
bool
tlpg_load_table(TlpgState *state, TlVerdict *verdict)
{
	StringInfoData sql;
	TlpgTable  *table;

	if (state->remote != NULL)
		return true;
	if (tlpg_dialect.check_server != NULL &&
		!tlpg_dialect.check_server(state, verdict))
		return false;
	initStringInfo(&sql);
	append_table_query(state, &sql);
	if (!tlpg_look_up(state, sql.data, verdict))
		return false;

	MemoryContextReset(state->table_mcxt);
	table = MemoryContextAllocZero(state->table_mcxt, sizeof(TlpgTable));
	read_table(state, table);
	if (table->exists && !load_columns(state, table, verdict))
		return false;
	state->remote = table;
	state->session->guarantee = table->unique && !table->interferes ?
		TL_PER_EVENT : TL_PER_ATTEMPT;
	return true;
}

static void
append_table_query(TlpgState *state, StringInfo sql)
{
	appendStringInfoString(sql,
						   "SELECT c.oid, c.relkind, c.relpersistence = 'u',"
						   " pg_catalog.has_column_privilege(c.oid, a.attnum, 'INSERT'),"
						   " pg_catalog.has_column_privilege(c.oid, a.attnum, 'SELECT'), ");
	append_key_check(sql);
	appendStringInfoString(sql, ", ");
	append_interference(sql);
	appendStringInfoString(sql,
						   " FROM pg_catalog.pg_class c"
						   " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
						   " LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid"
						   " AND a.attname = 'event_id' AND NOT a.attisdropped"
						   " WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm') AND n.nspname = ");
	tlpg_quote_literal(sql, state->table.schema);
	appendStringInfoString(sql, " AND c.relname = ");
	tlpg_quote_literal(sql, state->table.name);
}

/*
 * Is there a unique index on exactly the dialect's key which is checked at
 * once, for every row, and complete?
 */
static void
append_key_check(StringInfo sql)
{
	int			n = 0;

	appendStringInfoString(sql,
						   "c.relkind IN ('r', 'p') AND EXISTS (SELECT FROM pg_catalog.pg_index i"
						   " WHERE i.indrelid = c.oid AND i.indisunique AND i.indimmediate"
						   " AND i.indisvalid AND i.indisready AND i.indislive"
						   " AND i.indpred IS NULL AND i.indexprs IS NULL");
	for (const char *const *key = tlpg_dialect.key; *key != NULL; key++, n++)
	{
		appendStringInfoString(sql,
							   " AND EXISTS (SELECT FROM pg_catalog.pg_attribute k"
							   " WHERE k.attrelid = c.oid AND k.attnum = ANY"
							   " ((i.indkey::int2[])[0:i.indnkeyatts - 1]) AND k.attname = ");
		tlpg_quote_literal(sql, *key);
		appendStringInfoChar(sql, ')');
	}
	appendStringInfo(sql, " AND i.indnkeyatts = %d)", n);
}

/*
 * Rules on INSERT, and row triggers that fire before (2) or instead of (64)
 * an insert (4), for each row (1); on the table or on one of its partitions.
 */
static void
append_interference(StringInfo sql)
{
	appendStringInfoString(sql,
						   "EXISTS (SELECT FROM pg_catalog.pg_rewrite r"
						   " WHERE r.ev_class = c.oid AND r.ev_type = '3'"
						   " AND r.ev_enabled IN ('O', 'A')) OR"
						   " EXISTS (SELECT FROM pg_catalog.pg_trigger t"
						   " WHERE (t.tgrelid = c.oid OR t.tgrelid IN (SELECT p.relid"
						   " FROM pg_catalog.pg_partition_tree(c.oid) p))"
						   " AND t.tgenabled IN ('O', 'A') AND NOT t.tgisinternal"
						   " AND t.tgtype & 5 = 5 AND t.tgtype & 66 <> 0");
	if (tlpg_dialect.own_triggers != NULL)
	{
		appendStringInfoString(sql, " AND t.tgname NOT LIKE ");
		tlpg_quote_literal(sql, tlpg_dialect.own_triggers);
	}
	appendStringInfoChar(sql, ')');
}

static inline bool
get_bool(const PGresult *rows, int row, int column)
{
	return PQgetvalue(rows, row, column)[0] == 't';
}

static void
read_table(TlpgState *state, TlpgTable *table)
{
	const PGresult *rows = state->rows;

	if (PQntuples(rows) == 0)
		return;
	table->exists = true;
	table->oid = (Oid) strtoul(PQgetvalue(rows, 0, 0), NULL, 10);
	table->kind = PQgetvalue(rows, 0, 1)[0];
	table->unlogged = get_bool(rows, 0, 2);
	table->may_insert = get_bool(rows, 0, 3);
	table->may_select = get_bool(rows, 0, 4);
	table->unique = get_bool(rows, 0, 5);
	table->interferes = get_bool(rows, 0, 6);
}

static bool
load_columns(TlpgState *state, TlpgTable *table, TlVerdict *verdict)
{
	MemoryContext old;
	char	   *sql;

	sql = psprintf("SELECT attname, atttypid, atttypmod,"
				   " pg_catalog.format_type(atttypid, atttypmod), attnotnull,"
				   " (atthasdef AND attgenerated = '') OR attidentity <> '',"
				   " attgenerated <> '' OR attidentity = 'a'"
				   " FROM pg_catalog.pg_attribute"
				   " WHERE attrelid = %u AND attnum > 0 AND NOT attisdropped"
				   " ORDER BY attnum", table->oid);
	if (!tlpg_look_up(state, sql, verdict))
		return false;
	old = MemoryContextSwitchTo(state->table_mcxt);
	read_columns(state->rows, table);
	MemoryContextSwitchTo(old);

	if (!tlpg_look_up(state, tlpg_shape_sql(table), verdict))
		return false;
	table->shape = MemoryContextStrdup(state->table_mcxt,
									   PQgetvalue(state->rows, 0, 0));
	return true;
}

/*
 * A digest of all that tlpg_batch_fits relies on.  Each send compares it, in
 * its own transaction: COPY into a numeric of smaller scale would round.
 */
char *
tlpg_shape_sql(const TlpgTable *table)
{
	return psprintf("SELECT pg_catalog.md5(pg_catalog.string_agg("
					"pg_catalog.concat_ws(' ', attname, atttypid, atttypmod,"
					" attgenerated, attidentity), ',' ORDER BY attnum))"
					" AS tokenledger_shape FROM pg_catalog.pg_attribute"
					" WHERE attrelid = %u AND attnum > 0"
					" AND NOT attisdropped", table->oid);
}

static void
read_columns(const PGresult *rows, TlpgTable *table)
{
	table->ncolumns = PQntuples(rows);
	table->columns = palloc0(Max(table->ncolumns, 1) * sizeof(TlpgColumn));
	for (int i = 0; i < table->ncolumns; i++)
	{
		TlpgColumn *column = &table->columns[i];

		column->name = pstrdup(PQgetvalue(rows, i, 0));
		column->type = (Oid) strtoul(PQgetvalue(rows, i, 1), NULL, 10);
		column->typmod = atoi(PQgetvalue(rows, i, 2));
		column->type_name = pstrdup(PQgetvalue(rows, i, 3));
		column->not_null = get_bool(rows, i, 4);
		column->filled = get_bool(rows, i, 5);
		column->generated = get_bool(rows, i, 6);
	}
}

const TlpgColumn *
tlpg_find_column(const TlpgTable *table, const char *name)
{
	for (int i = 0; i < table->ncolumns; i++)
		if (strcmp(table->columns[i].name, name) == 0)
			return &table->columns[i];
	return NULL;
}

/* Can the column take every value of the type, without altering any? */
static bool
type_fits(const TlpgColumn *column, Oid expected)
{
	int32		typmod = column->typmod;
	int			scale = (typmod - 4) & 0x7FF;
	int			precision = ((typmod - 4) >> 16) & 0xFFFF;

	if (expected == OID_TEXT && column->type == OID_VARCHAR)
		return true;			/* refuses what is too long */
	if (column->type != expected || typmod < 0)
		return column->type == expected;
	if (expected == OID_TIMESTAMPTZ)
		return typmod == 6;
	if (expected == OID_NUMERIC)
		return scale >= 8 && scale < 0x400 && precision - scale >= 10;
	return true;
}

/*
 * Can the batch be written?  Which columns are sent is the core's choice,
 * made when it last inspected the table; it does so again after this.
 */
bool
tlpg_batch_fits(TlpgState *state, const TlBatch *batch, TlVerdict *verdict)
{
	const TlpgTable *table = state->remote;

	if (!table->exists)
	{
		tlpg_fail(verdict, TL_CAUSE_SCHEMA, "42P01",
				  "table %s does not exist", state->table.quoted);
		return false;
	}
	for (int i = -1; i < batch->ncolumns; i++)
	{
		const char *name = i < 0 ? "event_id" : batch->columns[i].name;
		Oid			type = i < 0 ? OID_UUID :
			type_oids[batch->columns[i].type];
		const TlpgColumn *column = tlpg_find_column(table, name);

		if (column != NULL && !column->generated && type_fits(column, type))
			continue;
		tlpg_fail(verdict, TL_CAUSE_SCHEMA, column ? "42804" : "42703",
				  column == NULL ? "table %s has no column \"%s\"" :
				  column->generated ? "table %s generates its column \"%s\"" :
				  "table %s has another type for column \"%s\"",
				  state->table.quoted, name);
		return false;
	}
	return true;
}

static const TlpgExpected *
find_expected(const char *name)
{
	for (const TlpgExpected *e = tlpg_expected; e->name != NULL; e++)
		if (strcmp(e->name, name) == 0)
			return e;
	return NULL;
}

/*
 * Describes for people how an existing table differs from the ledger's at
 * the given version (0: not recorded, all columns are asked for).  What makes
 * it impossible to fill the table goes to fatal as well.
 */
void
tlpg_list_differences(const TlpgTable *table, int32 version, StringInfo out,
					  StringInfo fatal)
{
	list_properties(table, out, fatal);
	compare_expected(table, version, out, fatal);
	compare_extra(table, out, fatal);
}

static void
compare_expected(const TlpgTable *table, int32 version, StringInfo out,
				 StringInfo fatal)
{
	for (const TlpgExpected *e = tlpg_expected; e->name != NULL; e++)
	{
		const TlpgColumn *column = tlpg_find_column(table, e->name);

		if (column == NULL && (version == 0 || e->since <= version))
		{
			note(out, "column \"%s\" is missing", e->name);
			note(fatal, "column \"%s\" is missing", e->name);
		}
		if (column == NULL)
			continue;
		if (!type_fits(column, e->type) || column->typmod != e->typmod)
			note(out, "column \"%s\" is %s instead of %s", e->name,
				 column->type_name, e->type_name);
		if (!type_fits(column, e->type))
			note(fatal, "column \"%s\" is %s instead of %s", e->name,
				 column->type_name, e->type_name);
		if (column->generated)
		{
			note(out, "column \"%s\" is generated", e->name);
			note(fatal, "column \"%s\" is generated", e->name);
		}
		if (column->not_null && !e->not_null)
			note(out, "column \"%s\" is not null", e->name);
	}
}

static void
compare_extra(const TlpgTable *table, StringInfo out, StringInfo fatal)
{
	for (int i = 0; i < table->ncolumns; i++)
	{
		const TlpgColumn *column = &table->columns[i];

		if (find_expected(column->name) != NULL)
			continue;
		note(out, "extra column \"%s\" (%s)", column->name,
			 column->type_name);
		if (column->not_null && !column->filled && !column->generated)
			note(fatal, "extra column \"%s\" is not null and has no default",
				 column->name);
	}
}

static void
list_properties(const TlpgTable *table, StringInfo out, StringInfo fatal)
{
	if (table->kind == 'v' || table->kind == 'm')
	{
		note(out, "it is a view");
		note(fatal, "it is a view");
	}
	else if (table->kind == 'f')
		note(out, "it is a foreign table");
	if (!table->unique)
		note(out, "no unique index on exactly (%s) that is valid, immediate and not partial",
			 tlpg_dialect.conflict_target);
	if (table->interferes)
		note(out, "a rule or a BEFORE trigger may drop or change events");
	if (table->unlogged)
		note(out, "it is unlogged: a crash of the server empties it");
}

/* Appends to a list; out may be NULL. */
static void
note(StringInfo out, const char *fmt,...)
{
	char		line[256];
	va_list		args;

	if (out == NULL)
		return;
	va_start(args, fmt);
	vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	appendStringInfo(out, "%s%s", out->len > 0 ? "; " : "", line);
}
