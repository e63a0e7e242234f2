/*-------------------------------------------------------------------------
 *
 * names.c
 *	  Names of Snowflake as text.
 *
 * SQL folds a name without quotes to upper case, so "events" of a URL is the
 * table that everybody calls events, and Snowflake EVENTS.  With option
 * identifiers=exact names are taken as they are written, and what is made is
 * in lower case.  All names are quoted, one way or the other.
 *
 * Pure text, so that the unit tests reach every corner.  Results are palloc'd
 * in the current memory context.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tlsf.h"

#define DEFAULT_TABLE		"token_ledger_events"
#define MAX_NAME_LEN		255

static char *fold(const char *text, bool exact);
static char *companion(const TlsfName *name, const char *suffix);
static bool cut_suffix(char *text, const char *suffix);
static bool is_account(const char *account);

/*
 * The name as Snowflake keeps it, or NULL: it cannot be written without
 * quotes.
 */
const char *
tlsf_identifier(const char *text, bool exact)
{
	Size		len = strlen(text);

	if (len == 0 || len > MAX_NAME_LEN)
		return NULL;
	for (Size i = 0; i < len; i++)
	{
		unsigned char c = text[i];
		bool		letter = (c >= 'a' && c <= 'z') ||
			(c >= 'A' && c <= 'Z') || c == '_';

		if (exact ? c < ' ' || c == 0x7f :
			!letter && (i == 0 || !((c >= '0' && c <= '9') || c == '$')))
			return NULL;
	}
	return fold(text, exact);
}

static char *
fold(const char *text, bool exact)
{
	char	   *copy = pstrdup(text);

	for (char *p = copy; *p != '\0' && !exact; p++)
		*p = pg_ascii_toupper((unsigned char) *p);
	return copy;
}

/*
 * path is "database/schema" or "database/schema/table"; the option names the
 * table where the path does not.  Returns NULL, or what is wrong.
 */
const char *
tlsf_parse_name(const char *path, const char *table_option, bool exact,
				TlsfName *name)
{
	char	   *database = pstrdup(path ? path : "");
	char	   *schema = strchr(database, '/');
	char	   *table;

	if (schema == NULL || schema == database || schema[1] == '\0')
		return "the target's URL must name a database and a schema, as in snowflake://account/database/schema";
	*schema++ = '\0';
	table = strchr(schema, '/');
	if (table != NULL)
		*table++ = '\0';
	if (table != NULL && table[0] != '\0' && table_option != NULL &&
		strcmp(table_option, table) != 0)
		return "the URL's path and option \"table\" name two tables";
	if (table == NULL || table[0] == '\0')
		table = pstrdup(table_option ? table_option : DEFAULT_TABLE);
	name->exact = exact;
	name->database = tlsf_identifier(database, exact);
	name->schema = tlsf_identifier(schema, exact);
	name->table = tlsf_identifier(table, exact);
	if (name->database == NULL || name->schema == NULL || name->table == NULL)
		return "database, schema and table must be names that need no quotes in SQL; option identifiers=exact takes others";
	name->quoted = tlsf_expand(name, "{table}");
	return NULL;
}

/*
 * hosts is the account's identifier, with or without Snowflake's domain.
 * *host is what its address begins with; *jwt_account what a JWT calls it
 * (Snowflake's documentation, "Using key-pair authentication"): the locator
 * without region and cloud, or organization and account as a whole.  Returns
 * NULL, or what is wrong.
 */
const char *
tlsf_parse_account(const char *hosts, char **host, char **jwt_account)
{
	char	   *account = pstrdup(hosts ? hosts : "");
	char	   *dot;
	bool		global;

	if (!is_account(account))
		return "the target's URL must name an account, as in snowflake://organization-account/database/schema";
	if (!cut_suffix(account, ".snowflakecomputing.com"))
		(void) cut_suffix(account, ".snowflakecomputing.cn");
	*host = pstrdup(account);
	for (char *p = *host; *p != '\0'; p++)
		*p = *p == '_' ? '-' : pg_ascii_tolower((unsigned char) *p);
	(void) cut_suffix(account, ".privatelink");
	global = cut_suffix(account, ".global");
	dot = strchr(account, '.');
	if (global)
		account[strcspn(account, "-.")] = '\0';
	else if (dot != NULL && memchr(account, '-', dot - account) == NULL)
		*dot = '\0';
	*jwt_account = fold(account, false);
	for (char *p = *jwt_account; *p != '\0'; p++)
		if (*p == '.')
			*p = '-';
	return NULL;
}

/* NB: the name goes into an address. */
static bool
is_account(const char *account)
{
	Size		len = strlen(account);

	return len > 0 && len <= MAX_NAME_LEN &&
		isalnum((unsigned char) account[0]) &&
		strspn(account, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
			   "0123456789_-.") == len &&
		strstr(account, "..") == NULL && account[len - 1] != '.';
}

static bool
cut_suffix(char *text, const char *suffix)
{
	Size		len = strlen(text);
	Size		suffix_len = strlen(suffix);

	if (len <= suffix_len ||
		pg_strcasecmp(text + len - suffix_len, suffix) != 0)
		return false;
	text[len - suffix_len] = '\0';
	return true;
}

/*
 * Fills in the names of a template, quoted: {table}, {table_stream}, the
 * tables {schema_version}, {source} and {watermark} beside it, and columns
 * by any other word.
 */
char *
tlsf_expand(const TlsfName *name, const char *template)
{
	static const char *const beside[] = {
		"schema_version", "source", "watermark"
	};
	StringInfoData out;

	initStringInfo(&out);
	for (const char *p = template; *p != '\0';)
	{
		const char *open = p + strcspn(p, "{");
		Size		len = strcspn(open, "}");
		char	   *word;
		char	   *object = NULL;

		appendBinaryStringInfo(&out, p, open - p);
		if (*open == '\0')
			break;
		word = pnstrdup(open + 1, len - 1);
		p = open + len + 1;
		if (strcmp(word, "table") == 0)
			object = pstrdup(name->table);
		else if (strcmp(word, "table_stream") == 0)
			object = psprintf("%s%s", name->table,
							  fold("_stream", name->exact));
		for (int i = 0; i < lengthof(beside); i++)
			if (strcmp(word, beside[i]) == 0)
				object = companion(name, beside[i]);
		if (object != NULL)
		{
			tlsf_quote_identifier(&out, name->database);
			appendStringInfoChar(&out, '.');
			tlsf_quote_identifier(&out, name->schema);
			appendStringInfoChar(&out, '.');
		}
		tlsf_quote_identifier(&out, object ? object :
							  fold(word, name->exact));
	}
	return out.data;
}

/* Those of the default table have names of their own. */
static char *
companion(const TlsfName *name, const char *suffix)
{
	const char *base = pg_strcasecmp(name->table, DEFAULT_TABLE) == 0 ?
		fold("token_ledger", name->exact) : name->table;

	return psprintf("%s_%s", base, fold(suffix, name->exact));
}

void
tlsf_quote_identifier(StringInfo out, const char *identifier)
{
	appendStringInfoChar(out, '"');
	for (; *identifier != '\0'; identifier++)
	{
		if (*identifier == '"')
			appendStringInfoChar(out, '"');
		appendStringInfoChar(out, *identifier);
	}
	appendStringInfoChar(out, '"');
}

void
tlsf_quote_literal(StringInfo out, const char *text)
{
	appendStringInfoChar(out, '\'');
	for (; *text != '\0'; text++)
	{
		if (*text == '\'' || *text == '\\')
			appendStringInfoChar(out, *text);
		appendStringInfoChar(out, *text);
	}
	appendStringInfoChar(out, '\'');
}
