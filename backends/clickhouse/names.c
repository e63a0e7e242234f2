/*-------------------------------------------------------------------------
 *
 * names.c
 *	  Tables and statements of ClickHouse as text.
 *
 * Pure text, so that the unit tests reach every corner.  Results are palloc'd
 * in the current memory context.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tlch.h"

static const char *parse_identifier(const char *p, char **result);
static void expand_one(StringInfo out, const char *name, Size len,
					   const TlchTableName *table,
					   const TlchPlacement *placement);
static void append_named(StringInfo out, const char *pattern, Size len,
						 const TlchTableName *table);
static void append_ttl(StringInfo out, int days);
static bool is(const char *name, Size len, const char *word);

/* ClickHouse knows backslashes within backticks as within quotes. */
void
tlch_quote_identifier(StringInfo out, const char *name)
{
	appendStringInfoChar(out, '`');
	for (; *name != '\0'; name++)
	{
		if (*name == '`' || *name == '\\')
			appendStringInfoChar(out, '\\');
		appendStringInfoChar(out, *name);
	}
	appendStringInfoChar(out, '`');
}

void
tlch_quote_literal(StringInfo out, const char *text)
{
	appendStringInfoChar(out, '\'');
	for (; *text != '\0'; text++)
	{
		if (*text == '\'' || *text == '\\')
			appendStringInfoChar(out, '\\');
		appendStringInfoChar(out, *text);
	}
	appendStringInfoChar(out, '\'');
}

/*
 * Splits [database.]table, where either part may be in double quotes or
 * backticks.  Returns NULL, or what is wrong.
 */
const char *
tlch_parse_table(const char *text, const char *database, TlchTableName *table)
{
	StringInfoData quoted;
	char	   *name;
	const char *rest = parse_identifier(text, &name);

	table->database = database;
	if (rest != NULL && *rest == '.')
	{
		table->database = name;
		rest = parse_identifier(rest + 1, &name);
	}
	table->name = name;
	if (rest == NULL || *rest != '\0')
		return "must be table or database.table";
	table->base = strcmp(table->name, "token_ledger_events") == 0 ?
		"token_ledger" : table->name;

	initStringInfo(&quoted);
	tlch_quote_identifier(&quoted, table->database);
	appendStringInfoChar(&quoted, '.');
	tlch_quote_identifier(&quoted, table->name);
	table->quoted = quoted.data;
	return NULL;
}

/* Returns what follows the identifier; NULL if there is none. */
static const char *
parse_identifier(const char *p, char **result)
{
	StringInfoData name;
	char		quote = *p == '"' || *p == '`' ? *p : '\0';

	*result = NULL;
	initStringInfo(&name);
	if (quote != '\0')
	{
		while (*++p != quote || *++p == quote)
		{
			if (*p == '\0')
				return NULL;	/* the closing quote is missing */
			appendStringInfoChar(&name, *p);
		}
	}
	else
	{
		Size		len = strcspn(p, ".\"`");

		appendBinaryStringInfo(&name, p, len);
		p += len;
	}
	*result = name.data;
	return name.len > 0 ? p : NULL;
}

/*
 * Fills in a script: {table} is the quoted table, {name:X} the quoted name,
 * in the same database, of X with the table's base name for an asterisk;
 * {cluster}, {engine}, {json} and {ttl} are the clauses of the placement.
 */
char *
tlch_expand(const char *template, const TlchTableName *table,
			const TlchPlacement *placement)
{
	StringInfoData out;

	initStringInfo(&out);
	while (*template != '\0')
	{
		const char *close = *template == '{' ? strchr(template, '}') : NULL;

		if (close == NULL)
			appendStringInfoChar(&out, *template++);
		else
		{
			expand_one(&out, template + 1, close - template - 1, table,
					   placement);
			template = close + 1;
		}
	}
	return out.data;
}

static void
expand_one(StringInfo out, const char *name, Size len,
		   const TlchTableName *table, const TlchPlacement *placement)
{
	if (is(name, len, "table"))
		appendStringInfoString(out, table->quoted);
	else if (len > 5 && memcmp(name, "name:", 5) == 0)
		append_named(out, name + 5, len - 5, table);
	else if (is(name, len, "engine"))
		appendStringInfoString(out, placement->engine);
	else if (is(name, len, "json"))
		appendStringInfoString(out, placement->json);
	else if (is(name, len, "ttl"))
		append_ttl(out, placement->ttl_days);
	else if (is(name, len, "cluster") && placement->cluster != NULL)
	{
		appendStringInfoString(out, " ON CLUSTER ");
		tlch_quote_identifier(out, placement->cluster);
	}
}

static void
append_named(StringInfo out, const char *pattern, Size len,
			 const TlchTableName *table)
{
	StringInfoData raw;

	initStringInfo(&raw);
	for (Size i = 0; i < len; i++)
	{
		if (pattern[i] == '*')
			appendStringInfoString(&raw, table->base);
		else
			appendStringInfoChar(&raw, pattern[i]);
	}
	tlch_quote_identifier(out, table->database);
	appendStringInfoChar(out, '.');
	tlch_quote_identifier(out, raw.data);
	pfree(raw.data);
}

/*
 * NB: toDateTime() of a time that a DateTime cannot hold (before 1970, after
 * 2106) wraps around, and a row whose time to live has passed is dropped at
 * insert without an error.  So the time is clamped first.
 */
static void
append_ttl(StringInfo out, int days)
{
	if (days > 0)
		appendStringInfo(out,
						 " TTL toDateTime(least(greatest(`timestamp`,"
						 " toDateTime64('1970-01-02 00:00:00', 6, 'UTC')),"
						 " toDateTime64('2095-01-01 00:00:00', 6, 'UTC')))"
						 " + toIntervalDay(%d)", days);
}

static bool
is(const char *name, Size len, const char *word)
{
	return len == strlen(word) && memcmp(name, word, len) == 0;
}
