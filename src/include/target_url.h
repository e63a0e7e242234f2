/*-------------------------------------------------------------------------
 *
 * target_url.h
 *	  The grammar of tokenledger.targets: a list of [database/]name=URL.
 *
 * Pure text in, structs out: no catalog, no settings, no backend.  Compiles
 * with FRONTEND, for the unit tests and fuzzers.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TL_TARGET_URL_H
#define TL_TARGET_URL_H

typedef struct UrlOption
{
	char	   *name;			/* decoded; [A-Za-z_][A-Za-z0-9_.-]{0,62} */
	char	   *value;			/* decoded; never NULL, may be empty */
	struct UrlOption *next;		/* in the order of the URL */
} UrlOption;

typedef struct TargetUrl		/* one entry of the list */
{
	char	   *database;		/* decoded; NULL: every database of
								 * tokenledger.databases */
	char	   *name;			/* never NULL, unique for each database; "#3"
								 * where the third entry has none, a malformed
								 * or a taken one */
	char	   *scheme;			/* dialect as written, in lower case:
								 * "postgresql"; NULL if malformed */

	/* The others are NULL where absent, and in every entry with an error. */
	char	   *user;			/* decoded */
	char	   *hosts;			/* host[:port][,host[:port]...]: names in
								 * lower case, IPv6 addresses in brackets, or
								 * directories of Unix sockets */
	char	   *path;			/* decoded, without the leading slash */
	UrlOption  *options;
	char	   *error;			/* NULL: the entry is well-formed.  Never
								 * holds a secret: it repeats no text of the
								 * entry but well-formed names of options */
	char	   *hint;			/* what to change; NULL */
	struct TargetUrl *next;
} TargetUrl;

/*
 * Parses the whole setting.  Every entry yields a struct, also a bad one, so
 * that one entry's mistake leaves the others working.  NULL for an empty
 * list.  Fails for nothing but lack of memory.
 */
extern TargetUrl *target_url_parse(const char *setting);

/* Does the entry name this database, or any? */
extern bool target_url_applies(const TargetUrl *url, const char *database);

/* Value of an option of the URL, decoded; NULL if absent. */
extern const char *target_url_option(const TargetUrl *url, const char *name);

#endif							/* TL_TARGET_URL_H */
