/*-------------------------------------------------------------------------
 *
 * names.c
 *	  Hosts, tables and lock keys of the libpq backends.
 *
 * Pure text and arithmetic, so that the unit tests reach every corner.
 * Results are palloc'd in the current memory context.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tlpg.h"

/*
 * The longest base name: with "idx_" and "_dashboard", or with
 * "_schema_version", it still fits into an identifier.
 */
#define MAX_BASE_LENGTH		48

static const char *parse_identifier(const char *p, char **result);
static const char *parse_host(const char *p, TlpgHost *host,
							  const char *default_port);
static void expand_one(StringInfo out, const char *name, Size len,
					   const TlpgTableName *table);
static uint64 fnv1a(uint64 hash, const void *bytes, Size len);

void
tlpg_quote_identifier(StringInfo out, const char *name)
{
	appendStringInfoChar(out, '"');
	for (; *name != '\0'; name++)
	{
		if (*name == '"')
			appendStringInfoChar(out, '"');
		appendStringInfoChar(out, *name);
	}
	appendStringInfoChar(out, '"');
}

/* Safe whatever standard_conforming_strings says. */
void
tlpg_quote_literal(StringInfo out, const char *text)
{
	appendStringInfoString(out, strchr(text, '\\') != NULL ? " E'" : "'");
	for (; *text != '\0'; text++)
	{
		if (*text == '\'' || *text == '\\')
			appendStringInfoChar(out, *text);
		appendStringInfoChar(out, *text);
	}
	appendStringInfoChar(out, '\'');
}

/*
 * Splits [schema.]table, where either part may be in double quotes; what is
 * not quoted is taken as written, without folding.  Returns NULL, or what is
 * wrong.
 */
const char *
tlpg_parse_table(const char *text, TlpgTableName *table)
{
	StringInfoData quoted;
	char	   *first;
	const char *rest = parse_identifier(text, &first);

	table->schema = "public";
	table->name = first;
	if (rest != NULL && *rest == '.')
	{
		table->schema = first;
		rest = parse_identifier(rest + 1, &table->name);
	}
	if (rest == NULL || *rest != '\0')
		return "must be table or schema.table";

	table->base = strcmp(table->name, "token_ledger_events") == 0 ?
		"token_ledger" : table->name;
	if (strlen(table->base) > MAX_BASE_LENGTH)
		return "is longer than 48 bytes";
	if (strlen(table->schema) >= NAMEDATALEN)
		return "names a schema longer than 63 bytes";

	initStringInfo(&quoted);
	tlpg_quote_identifier(&quoted, table->schema);
	appendStringInfoChar(&quoted, '.');
	tlpg_quote_identifier(&quoted, table->name);
	table->quoted = quoted.data;
	return NULL;
}

/* Returns what follows the identifier; NULL if there is none. */
static const char *
parse_identifier(const char *p, char **result)
{
	StringInfoData name;
	bool		quoted = (*p == '"');

	initStringInfo(&name);
	*result = name.data;
	if (quoted)
	{
		while (*++p != '"' || *++p == '"')
		{
			if (*p == '\0')
				return NULL;	/* the closing quote is missing */
			appendStringInfoChar(&name, *p);
		}
	}
	else
	{
		Size		len = strcspn(p, ".\"");

		appendBinaryStringInfo(&name, p, len);
		p += len;
	}
	*result = name.data;
	return name.len > 0 ? p : NULL;
}

/*
 * Splits host[:port][,host[:port]...]; an IPv6 address with a port stands in
 * brackets.  Returns how many there are; 0: the list is malformed.
 */
int
tlpg_parse_hosts(const char *hosts, const char *default_port,
				 TlpgHost **result)
{
	int			n = 1;

	for (const char *p = hosts; *p != '\0'; p++)
		n += (*p == ',');
	*result = palloc0(n * sizeof(TlpgHost));
	for (int i = 0; i < n; i++)
	{
		hosts = parse_host(hosts, &(*result)[i], default_port);
		if (hosts == NULL)
			return 0;
		hosts += (*hosts == ',');
	}
	return n;
}

static const char *
parse_host(const char *p, TlpgHost *host, const char *default_port)
{
	const char *end = p + strcspn(p, ",");
	const char *colon;

	if (*p == '[')
	{
		const char *close = memchr(p, ']', end - p);

		if (close == NULL || (close + 1 != end && close[1] != ':'))
			return NULL;
		host->host = pnstrdup(p + 1, close - p - 1);
		colon = close + 1 != end ? close + 1 : NULL;
	}
	else
	{
		colon = *p == '/' ? NULL : memchr(p, ':', end - p);
		host->host = pnstrdup(p, (colon ? colon : end) - p);
	}
	host->port = colon ? pnstrdup(colon + 1, end - colon - 1) :
		pstrdup(default_port);
	if (host->host[0] == '\0' || host->port[0] == '\0' ||
		strspn(host->port, "0123456789") != strlen(host->port))
		return NULL;
	return end;
}

/* Can nobody on a network listen in? */
bool
tlpg_host_is_local(const char *host)
{
	return host[0] == '/' || host[0] == '@' ||
		strcmp(host, "localhost") == 0 || strcmp(host, "::1") == 0 ||
		(strncmp(host, "127.", 4) == 0 &&
		 strspn(host, "0123456789.") == strlen(host));
}

/*
 * Fills in the names of a migration's script: {table} is the quoted table,
 * {schema} its quoted schema, {name:X} a quoted identifier made of X, in
 * which an asterisk stands for the table's base name.
 */
char *
tlpg_expand(const char *template, const TlpgTableName *table)
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
			expand_one(&out, template + 1, close - template - 1, table);
			template = close + 1;
		}
	}
	return out.data;
}

static void
expand_one(StringInfo out, const char *name, Size len,
		   const TlpgTableName *table)
{
	if (len == 5 && memcmp(name, "table", 5) == 0)
		appendStringInfoString(out, table->quoted);
	else if (len == 6 && memcmp(name, "schema", 6) == 0)
		tlpg_quote_identifier(out, table->schema);
	else if (len > 5 && memcmp(name, "name:", 5) == 0)
	{
		StringInfoData raw;

		initStringInfo(&raw);
		for (const char *p = name + 5; p < name + len; p++)
		{
			if (*p == '*')
				appendStringInfoString(&raw, table->base);
			else
				appendStringInfoChar(&raw, *p);
		}
		tlpg_quote_identifier(out, raw.data);
		pfree(raw.data);
	}
	else
		appendBinaryStringInfo(out, name - 1, len + 2);
}

/*
 * Key of an advisory lock.  Made of what stays the same when a target is
 * renamed or its ledger moves to another server: the ledger, the table and
 * the lane.  The hash (FNV-1a, 64 bits) must never change: two versions of
 * this library have to exclude each other.
 */
int64
tlpg_lock_key(const pg_uuid_t *ledger_id, const char *kind,
			  const char *table, int32 lane)
{
	uint64		hash = UINT64CONST(0xcbf29ce484222325);
	char		number[16];

	snprintf(number, sizeof(number), "/%d", lane);
	hash = fnv1a(hash, "tokenledger/", 12);
	hash = fnv1a(hash, kind, strlen(kind) + 1);
	if (ledger_id != NULL)
		hash = fnv1a(hash, ledger_id->data, UUID_LEN);
	hash = fnv1a(hash, table, strlen(table));
	hash = fnv1a(hash, number, strlen(number));
	return (int64) hash;
}

static uint64
fnv1a(uint64 hash, const void *bytes, Size len)
{
	const unsigned char *p = bytes;

	while (len-- > 0)
		hash = (hash ^ *p++) * UINT64CONST(0x100000001b3);
	return hash;
}
