/*-------------------------------------------------------------------------
 *
 * options.h
 *	  The options of a target's URL, checked against their declarations.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TL_OPTIONS_H
#define TL_OPTIONS_H

#include "target_url.h"
#include "tokenledger_backend.h"

typedef struct Options Options;

/* What a target may set: arrays that end with name NULL. */
typedef struct OptionSpec
{
	const TlOption *core;
	const TlOption *backend;	/* NULL: not known.  A declaration of the name
								 * of a core option takes its place */
	bool		core_only;		/* leave out what is not the core's */
} OptionSpec;

/*
 * Checks the URL's options and fills in defaults.  NULL: *error and *hint
 * (which may be NULL) say why; they name options and the text of values that
 * are no secrets.  Looks whether the files of secrets can be read.
 */
extern Options *options_parse(const UrlOption *given, const OptionSpec *spec,
							  char **error, char **hint);

/*
 * A value in base units; NULL: not set.  Of a secret NULL, but its file is
 * found as <name>_file.
 */
extern const char *options_get(const Options *options, const char *name);
extern int64 options_get_int(const Options *options, const char *name);
extern bool options_get_bool(const Options *options, const char *name);

/* Was it in the URL? */
extern bool options_given(const Options *options, const char *name);

/* Iterates over values whose name begins with prefix; *iter starts at 0. */
extern bool options_next(const Options *options, const char *prefix,
						 int *iter, const char **name, const char **value);

/*
 * Appends a secret, read anew; false: *error says why, or is NULL if it is
 * not set.
 */
extern bool options_secret(const Options *options, const char *name,
						   StringInfo out, char **error);

/*
 * Appends "?a=b&c=d": the options that name another store and differ from
 * their defaults, by name, percent-encoded.  Nothing if there are none.
 */
extern void options_append_destination(const Options *options,
									   StringInfo out);

/*
 * Appends text with every byte percent-encoded that is neither a letter or
 * digit nor one of "-._~" and of those in also: ASCII in every encoding.
 */
extern void url_append_encoded(StringInfo out, const char *text,
							   const char *also);

/* The declaration of that very name; NULL: none. */
extern const TlOption *option_find(const TlOption *array, const char *name);

/*
 * option_value.c: the value in base units; NULL: invalid, *hint says what is
 * valid.
 */
extern char *option_normalize(const TlOption *option, const char *text,
							  char **hint);

/* Is a declaration usable?  NULL, or what is wrong with it. */
extern char *option_check(const TlOption *option);

/* "string", "integer", ..., for people. */
extern const char *option_type_name(TlOptionType type);

/* Text for a message: not too long, and ASCII for every encoding. */
extern char *option_shown(const char *text);

/* The candidate that name was probably meant to be; NULL: none is near. */
extern const char *closest_match(const char *name,
								 const char *const *candidates, int n);

/*
 * secret.c: appends a secret to out, or checks only, where out is NULL.
 * false: *error names the option and the file or variable, never contents.
 */
extern bool secret_read_file(const char *option, const char *path,
							 StringInfo out, char **error);
extern bool secret_read_env(const char *option, const char *variable,
							StringInfo out, char **error);

#endif							/* TL_OPTIONS_H */
