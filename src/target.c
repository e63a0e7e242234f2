/*-------------------------------------------------------------------------
 *
 * target.c
 *	  Targets as the settings describe them: URL, backend and options in one.
 *
 * Everything is made anew from the settings at each call, in the caller's
 * memory context; nothing is kept but loaded libraries.  Mistakes of an entry
 * are a property of that target and never raised, so that the others run.
 *
 * The destination is the identity of the store: two names for one store would
 * double its events, and a name that moves to another store must be noticed.
 * It leaves out who connects and how, since that changes with every rotation
 * of credentials, and is the same for hosts in another order.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "guc.h"
#include "registry.h"
#include "routing.h"
#include "target.h"
#include "utils/builtins.h"
#include "utils/varlena.h"

#define KB(n)	((int64) (n) * 1024)

static const char *const start_values[] = {"beginning", "now", NULL};
static const char *const auto_migrate_values[] = {
	[AUTO_MIGRATE_OFF] = "off",
	[AUTO_MIGRATE_CREATE] = "create",
	[AUTO_MIGRATE_ON] = "on",
	NULL
};

/* In the order of the documentation; target_core_options() adds defaults. */
static const TlOption core_options[] = {
	{"lanes", TL_INT_OPT, 0, NULL, 1, LANES_MAX, NULL,
	"Worker processes that carry events to this target; default: tokenledger.lanes"},
	{"batch_rows", TL_INT_OPT, 0, NULL, 1, BATCH_ROWS_MAX, NULL,
	"Most events sent at once; default: the backend's choice, or tokenledger.batch_rows"},
	{"batch_bytes", TL_BYTES_OPT, 0, NULL, KB(BATCH_KB_MIN), KB(BATCH_KB_MAX), NULL,
	"Most bytes of column data sent at once; default: tokenledger.batch_bytes"},
	{"max_event_bytes", TL_BYTES_OPT, 0, NULL, KB(EVENT_KB_MIN), KB(EVENT_KB_MAX), NULL,
	"Size beyond which an event is set aside as a dead letter; default: tokenledger.max_event_bytes"},
	{"claim_rows", TL_INT_OPT, 0, NULL, 1, CLAIM_ROWS_MAX, NULL,
	"Most events that a lane claims at once; default: tokenledger.claim_rows"},
	{"flush_interval", TL_MS_OPT, 0, NULL, 0, FLUSH_INTERVAL_MAX, NULL,
	"Longest time that events wait for a batch to fill; default: tokenledger.flush_interval"},
	{"timeout", TL_MS_OPT, 0, NULL, TIMEOUT_MIN, TIMEOUT_MAX, NULL,
	"Longest time to wait for the store's answer; default: tokenledger.timeout"},
	{"retry_min", TL_MS_OPT, 0, NULL, 1, RETRY_MAX, NULL,
	"Time to wait after the first failed attempt; default: tokenledger.retry_min"},
	{"retry_max", TL_MS_OPT, 0, NULL, 1, RETRY_MAX, NULL,
	"Longest time to wait between attempts; default: tokenledger.retry_max"},
	{"auto_migrate", TL_ENUM_OPT, 0, NULL, 0, 0, auto_migrate_values,
	"What lanes may do to the table by themselves: nothing, create it if it is missing, or also bring it up to date (on); default: tokenledger.auto_migrate"},
	{"start", TL_ENUM_OPT, 0, "beginning", 0, 0, start_values,
	"Where a new target begins: with the oldest event, or with the next one"},
	{"shared", TL_BOOL_OPT, 0, "off", 0, 0, NULL,
	"Whether another ledger may fill the same table in the store"},
	{"check_kept", TL_BOOL_OPT, 0, "on", 0, 0, NULL,
	"Whether the store is asked, when it is opened and every 10 minutes, if it still has an event that it acknowledged"},
	{"watermark", TL_BOOL_OPT, 0, "off", 0, 0, NULL,
	"Whether the store is told, every 10 seconds, up to when its events are complete"},
	{"table", TL_STRING_OPT, TL_OPT_DESTINATION, NULL, 0, 0, NULL,
	"Table in the store, with its schema where the store has them"},
	{"columns", TL_STRING_OPT, 0, NULL, 0, 0, NULL,
	"Columns of an event that are sent, separated by commas; default: all"},
	{"exclude", TL_STRING_OPT, 0, NULL, 0, 0, NULL,
	"Columns of an event that are not sent, separated by commas"},
	{"hash", TL_STRING_OPT, 0, NULL, 0, 0, NULL,
	"Text columns that are sent as the HMAC-SHA-256 of their value, in hexadecimal digits, separated by commas"},
	{"hash_key", TL_STRING_OPT, TL_OPT_SECRET, NULL, 0, 0, NULL,
	"Key of option hash, of 16 bytes or more"},
	{"filter", TL_STRING_OPT, 0, NULL, 0, 0, NULL,
	"Which events are sent: a boolean SQL expression over their columns, of built-in immutable functions and operators"},
	{.name = NULL}
};

static List *load_list(const char *database, bool core_only);
static Target *load_target(const TargetUrl *url, const TlOption *core,
						   bool core_only);
static void load_options(Target *target, const TlOption *core,
						 bool core_only);
static char *default_text(const char *name);
static uint64 fingerprint(const TargetUrl *url, const TlOption *core);
static void resolve_core(Target *target);
static AutoMigrate auto_migrate_value(const char *text);
static void resolve_retry(Target *target);
static void apply_backend_limits(Target *target);
static void check_limit(Target *target, const char *option, int64 value,
						int64 limit);
static char *make_destination(const Target *target);
static char *sorted_hosts(const char *hosts);
static void refuse_same_destination(List *targets);
static bool split_databases(List **names);

List *
target_load_all(const char *database)
{
	List	   *targets = load_list(database, false);

	refuse_same_destination(targets);
	return targets;
}

List *
target_load_core_only(const char *database)
{
	return load_list(database, true);
}

/* NB: all of them, since two with one destination are judged together. */
Target *
target_load(const char *database, const char *name)
{
	ListCell   *lc;

	foreach(lc, target_load_all(database))
	{
		Target	   *target = lfirst(lc);

		if (strcmp(target->name, name) == 0)
			return target;
	}
	return NULL;
}

static List *
load_list(const char *database, bool core_only)
{
	const TlOption *core = target_core_options();
	bool		listed = target_database_listed(database);
	List	   *targets = NIL;

	for (TargetUrl *url = target_url_parse(guc_targets); url != NULL;
		 url = url->next)
	{
		Target	   *target;

		if (!target_url_applies(url, database))
			continue;
		target = load_target(url, core, core_only);
		if (!listed && target->error == NULL)
			target->hint = pstrdup("Add this database to tokenledger.databases.");
		targets = lappend(targets, target);
	}
	return targets;
}

static Target *
load_target(const TargetUrl *url, const TlOption *core, bool core_only)
{
	Target	   *target = palloc0(sizeof(Target));

	target->url = url;
	target->name = url->name;
	target->fingerprint = fingerprint(url, core);
	target->error = url->error;
	target->hint = url->hint;
	if (target->error == NULL && !core_only)
		target->backend = registry_lookup(url->scheme, &target->error,
										  &target->hint);
	if (target->error == NULL)
		load_options(target, core, core_only);
	if (target->error == NULL && !core_only)
		target->destination = make_destination(target);
	return target;
}

static void
load_options(Target *target, const TlOption *core, bool core_only)
{
	OptionSpec	spec;

	spec.core = core;
	spec.backend = core_only ? NULL : target->backend->options;
	spec.core_only = core_only;
	target->options = options_parse(target->url->options, &spec,
									&target->error, &target->hint);
	if (target->options == NULL)
		return;
	resolve_core(target);
	resolve_retry(target);
	routing_resolve(target);
	if (!core_only)
		apply_backend_limits(target);
	if (target->error != NULL)
		target->options = NULL;
}

static void
resolve_core(Target *target)
{
	const Options *options = target->options;
	const char *table = options_get(options, "table");

	target->lanes = options_get_int(options, "lanes");
	target->batch_rows = options_get_int(options, "batch_rows");
	target->batch_bytes = options_get_int(options, "batch_bytes");
	target->max_event_bytes = options_get_int(options, "max_event_bytes");
	target->claim_rows = options_get_int(options, "claim_rows");
	target->flush_interval_ms = options_get_int(options, "flush_interval");
	target->timeout_ms = options_get_int(options, "timeout");
	target->auto_migrate =
		auto_migrate_value(options_get(options, "auto_migrate"));
	target->start_now = strcmp(options_get(options, "start"), "now") == 0;
	target->shared = options_get_bool(options, "shared");
	target->watermark = options_get_bool(options, "watermark");
	target->check_kept = options_get_bool(options, "check_kept");
	target->table = table;
	if (table != NULL && *table == '\0')
		target->error = pstrdup("option \"table\" is empty");
}

static AutoMigrate
auto_migrate_value(const char *text)
{
	int			value = 0;

	while (auto_migrate_values[value] != NULL &&
		   strcmp(auto_migrate_values[value], text) != 0)
		value++;
	return (AutoMigrate) value;
}

/* A bound that the URL does not give yields to the one that it gives. */
static void
resolve_retry(Target *target)
{
	const Options *options = target->options;
	bool		min_given = options_given(options, "retry_min");

	target->retry_min_ms = options_get_int(options, "retry_min");
	target->retry_max_ms = options_get_int(options, "retry_max");
	if (target->retry_min_ms <= target->retry_max_ms)
		return;
	if (min_given && options_given(options, "retry_max"))
		target->error = pstrdup("option \"retry_min\" is larger than \"retry_max\"");
	else if (min_given)
		target->retry_max_ms = target->retry_min_ms;
	else
		target->retry_min_ms = target->retry_max_ms;
}

/*
 * What the URL asks beyond the backend's limits is an error; what comes from
 * the settings, which are for all targets, is lowered.
 */
static void
apply_backend_limits(Target *target)
{
	const TlBackend *backend = target->backend;

	if (!options_given(target->options, "batch_rows") &&
		guc_batch_rows == GUC_BATCH_ROWS_DEFAULT && backend->good_rows > 0)
		target->batch_rows = Min(backend->good_rows, BATCH_ROWS_MAX);

	if (target->watermark && backend->watermark == NULL &&
		target->error == NULL)
	{
		target->error = psprintf("backend \"%s\" has no place for a watermark",
								 backend->name);
		target->hint = "Remove watermark from the target's URL.";
	}
	check_limit(target, "lanes", target->lanes, backend->max_lanes);
	check_limit(target, "batch_rows", target->batch_rows, backend->max_rows);
	check_limit(target, "batch_bytes", target->batch_bytes,
				backend->max_bytes);
	if (backend->max_lanes > 0)
		target->lanes = Min(target->lanes, backend->max_lanes);
	if (backend->max_rows > 0)
		target->batch_rows = Min(target->batch_rows, backend->max_rows);
	if (backend->max_bytes > 0)
		target->batch_bytes = Min(target->batch_bytes, backend->max_bytes);
}

static void
check_limit(Target *target, const char *option, int64 value, int64 limit)
{
	if (limit <= 0 || value <= limit || target->error != NULL ||
		!options_given(target->options, option))
		return;
	target->error = psprintf("option \"%s\" is larger than backend \"%s\" allows",
							 option, target->backend->name);
	target->hint = psprintf("Its limit is " INT64_FORMAT ".", limit);
}

const TlOption *
target_core_options(void)
{
	TlOption   *options = palloc(sizeof(core_options));

	memcpy(options, core_options, sizeof(core_options));
	for (TlOption *option = options; option->name != NULL; option++)
		if (option->default_value == NULL)
			option->default_value = default_text(option->name);
	return options;
}

/* The setting's value, as a user would write it; NULL: there is none. */
static char *
default_text(const char *name)
{
	const struct
	{
		const char *name;
		int			value;
		const char *unit;
	}			defaults[] = {
		{"lanes", guc_lanes, ""},
		{"batch_rows", guc_batch_rows, ""},
		{"batch_bytes", guc_batch_kb, "kB"},
		{"max_event_bytes", guc_max_event_kb, "kB"},
		{"claim_rows", guc_claim_rows, ""},
		{"flush_interval", guc_flush_interval, "ms"},
		{"timeout", guc_timeout, "ms"},
		{"retry_min", guc_retry_min, "ms"},
		{"retry_max", guc_retry_max, "ms"},
	};

	for (int i = 0; i < lengthof(defaults); i++)
		if (strcmp(defaults[i].name, name) == 0)
			return psprintf("%d%s", defaults[i].value, defaults[i].unit);
	if (strcmp(name, "auto_migrate") == 0)
		return pstrdup(auto_migrate_values[guc_auto_migrate]);
	return NULL;
}

static void
add_text(StringInfo text, const char *part)
{
	/* NB: the terminator keeps "ab" + "c" apart from "a" + "bc". */
	if (part == NULL)
		appendStringInfoChar(text, '\1');
	else
		appendBinaryStringInfo(text, part, strlen(part) + 1);
}

/* A hash of what a lane was started with. */
static uint64
fingerprint(const TargetUrl *url, const TlOption *core)
{
	StringInfoData text;
	uint64		hash;

	initStringInfo(&text);
	add_text(&text, url->database);
	add_text(&text, url->name);
	add_text(&text, url->scheme);
	add_text(&text, url->user);
	add_text(&text, url->hosts);
	add_text(&text, url->path);
	add_text(&text, url->error);
	for (UrlOption *option = url->options; option; option = option->next)
	{
		add_text(&text, option->name);
		add_text(&text, option->value);
	}
	for (; core->name != NULL; core++)
		if (target_url_option(url, core->name) == NULL)
			add_text(&text, core->default_value);
	hash = hash_bytes_extended((unsigned char *) text.data, text.len, 0);
	pfree(text.data);
	return hash;
}

static char *
make_destination(const Target *target)
{
	const TargetUrl *url = target->url;
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfo(&out, "%s://", target->backend->name);
	if (url->hosts != NULL)
		url_append_encoded(&out, sorted_hosts(url->hosts), ":,[]");
	if (url->path != NULL)
	{
		appendStringInfoChar(&out, '/');
		url_append_encoded(&out, url->path, "/:,@");
	}
	options_append_destination(target->options, &out);
	return out.data;
}

static int
compare_strings(const ListCell *a, const ListCell *b)
{
	return strcmp(lfirst(a), lfirst(b));
}

/* The order of hosts is which to try first, not which store it is. */
static char *
sorted_hosts(const char *hosts)
{
	List	   *items = NIL;
	StringInfoData out;
	ListCell   *lc;
	char	   *p = pstrdup(hosts);

	while (p != NULL)
	{
		char	   *comma = strchr(p, ',');

		if (comma != NULL)
			*comma++ = '\0';
		items = lappend(items, p);
		p = comma;
	}
	list_sort(items, compare_strings);

	initStringInfo(&out);
	foreach(lc, items)
		appendStringInfo(&out, "%s%s", out.len > 0 ? "," : "",
						 (char *) lfirst(lc));
	return out.data;
}

/* Of two valid targets with one destination the later becomes invalid. */
static void
refuse_same_destination(List *targets)
{
	for (int i = 1; i < list_length(targets); i++)
	{
		Target	   *target = list_nth(targets, i);

		for (int j = 0; j < i && target->error == NULL; j++)
		{
			Target	   *other = list_nth(targets, j);

			if (other->error != NULL ||
				strcmp(other->destination, target->destination) != 0)
				continue;
			target->error = psprintf("target \"%s\" has the same destination",
									 other->name);
			target->hint = pstrdup("Remove one of them from tokenledger.targets, or give them different tables.");
			target->options = NULL;
		}
	}
}

/* As SplitGUCList reads it: names are not folded, and may be quoted. */
static bool
split_databases(List **names)
{
	return SplitGUCList(pstrdup(guc_databases), ',', names);
}

List *
target_databases(void)
{
	List	   *names;
	List	   *result = NIL;
	ListCell   *lc;

	if (!split_databases(&names))
		return NIL;
	foreach(lc, names)
	{
		ListCell   *other;
		bool		known = false;

		foreach(other, result)
			known |= strcmp(lfirst(other), lfirst(lc)) == 0;
		if (!known)
			result = lappend(result, lfirst(lc));
	}
	return result;
}

const char *
target_databases_error(void)
{
	List	   *names;

	return split_databases(&names) ? NULL :
		"tokenledger.databases is not a list of names separated by commas";
}

bool
target_database_listed(const char *database)
{
	ListCell   *lc;

	foreach(lc, target_databases())
		if (strcmp(lfirst(lc), database) == 0)
			return true;
	return false;
}

List *
target_unlisted(void)
{
	List	   *result = NIL;

	for (TargetUrl *url = target_url_parse(guc_targets); url; url = url->next)
		if (url->database != NULL && !target_database_listed(url->database))
			result = lappend(result, url);
	return result;
}
