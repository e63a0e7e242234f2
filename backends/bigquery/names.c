/*-------------------------------------------------------------------------
 *
 * names.c
 *	  Names of BigQuery as text.
 *
 * Pure text, so that the unit tests reach every corner.  Results are palloc'd
 * in the current memory context.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tlbq.h"

#define DEFAULT_TABLE		"token_ledger_events"

static bool is_project(const char *name);
static bool is_identifier(const char *name, const char *besides);

/*
 * project is the URL's host; path is "dataset" or "dataset/table"; the option
 * names the table where the path does not.  Returns NULL, or what is wrong.
 */
const char *
tlbq_parse_name(const char *project, const char *path,
				const char *table_option, TlbqName *name)
{
	const char *slash = path ? strchr(path, '/') : NULL;

	if (project == NULL || !is_project(project))
		return "the target's URL must name a project, as in bigquery://project/dataset";
	if (path == NULL || path[0] == '\0' || slash == path)
		return "the target's URL must name a dataset, as in bigquery://project/dataset";
	name->project = pstrdup(project);
	name->dataset = slash ? pnstrdup(path, slash - path) : pstrdup(path);
	name->table = slash && slash[1] != '\0' ? pstrdup(slash + 1) :
		pstrdup(table_option ? table_option : DEFAULT_TABLE);
	if (!is_identifier(name->dataset, "_"))
		return "the dataset's name may have letters, digits and underscores only";
	if (!is_identifier(name->table, "_-"))
		return "the table's name may have letters, digits, underscores and dashes only";
	if (slash && slash[1] != '\0' && table_option != NULL &&
		strcmp(table_option, slash + 1) != 0)
		return "the URL's path and option \"table\" name two tables";
	name->quoted = psprintf("`%s.%s.%s`", name->project, name->dataset,
							name->table);
	name->resource = psprintf("projects/%s/datasets/%s/tables/%s",
							  name->project, name->dataset, name->table);
	return NULL;
}

/* With the domain that old projects have: "example.com:name". */
static bool
is_project(const char *name)
{
	return is_identifier(name, "-.:");
}

/* NB: names go into URLs and quoted into SQL: nothing else may be there. */
static bool
is_identifier(const char *name, const char *besides)
{
	if (name[0] == '\0' || strlen(name) > 1024)
		return false;
	for (; *name != '\0'; name++)
		if (!((*name >= 'a' && *name <= 'z') ||
			  (*name >= 'A' && *name <= 'Z') ||
			  (*name >= '0' && *name <= '9') ||
			  strchr(besides, *name) != NULL))
			return false;
	return true;
}
