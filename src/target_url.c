/*-------------------------------------------------------------------------
 *
 * target_url.c
 *	  Parses tokenledger.targets: a list of [database/]name=URL.
 *
 *		entry	= [database "/"] name "=" scheme "://" [user "@"] [hosts]
 *				  ["/" path] ["?" option "=" value *("&" ...)]
 *		scheme	= ["tokenledger+"] dialect
 *		hosts	= host [":" port] *("," host [":" port])
 *
 * Entries are separated by whitespace.  The parts follow RFC 3986 (percent
 * encoding, IPv6 in brackets), with a list of hosts as libpq has it.
 *
 * The parser accepts every text, because the setting does: what is wrong with
 * an entry is said in that entry.  It must not become a leak.  A password in
 * the URL is refused, and a password with an unencoded "/", "?", "@", "#" or
 * space ends up in any part of the entry; hence no message repeats text of
 * the entry, but for option names of well-formed shape, and an entry with an
 * error keeps neither user, hosts, path nor options.
 *
 *-------------------------------------------------------------------------
 */
#ifdef FRONTEND
#include "postgres_fe.h"
#else
#include "postgres.h"
#endif

#include <arpa/inet.h>
#include <sys/socket.h>

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "target_url.h"

#define MAX_ENTRIES			1000
#define MAX_ENTRY_LEN		8192	/* bytes, as written */
#define MAX_NAME_LEN		63		/* also of options and databases */
#define MAX_SCHEME_LEN		32
#define MAX_USER_LEN		255
#define MAX_HOST_LEN		255
#define MAX_PATH_LEN		1024
#define MAX_OPTIONS			100

#define SPACE				" \t\n\r\f\v"
#define PREFIX				"tokenledger+"
#define DIGITS				"0123456789"
#define LOWER				"abcdefghijklmnopqrstuvwxyz"
#define LETTERS				LOWER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

#define HINT_FORM \
	"Write name=tokenledger+<backend>://[user@]host[:port]/... in tokenledger.targets."
#define HINT_SPACE \
	" A space within a URL is written %20."
#define HINT_PASSWORD \
	"Remove the password from tokenledger.targets; put it into a file that only the server can read, and name the file by the option password_file."

static TargetUrl *parse_entry(const char *text, int len, int number);
static bool split_entry(TargetUrl *url, char *text);
static bool check_characters(TargetUrl *url, const char *text);
static bool parse_label(TargetUrl *url, char *label);
static bool parse_url(TargetUrl *url, char *text);
static bool parse_scheme(TargetUrl *url, char *text);
static bool parse_rest(TargetUrl *url, char *text);
static bool parse_authority(TargetUrl *url, char *text);
static bool parse_user(TargetUrl *url, char *text);
static bool parse_hosts(TargetUrl *url, char *text);
static bool parse_host(TargetUrl *url, char *text, StringInfo out);
static bool parse_bracketed(TargetUrl *url, char *text, StringInfo out);
static bool parse_host_name(TargetUrl *url, const char *text, StringInfo out);
static bool parse_port(TargetUrl *url, const char *text, StringInfo out);
static bool parse_options(TargetUrl *url, char *text);
static UrlOption *parse_option(TargetUrl *url, char *text, int number);
static char *decode(TargetUrl *url, const char *what, const char *text,
					int limit, bool text_only);
static bool hides_password(const char *authority);
static void refuse_taken_name(const TargetUrl *list, TargetUrl *url,
							  int number);
static bool fail(TargetUrl *url, const char *hint, const char *fmt,...)
			pg_attribute_printf(3, 4);

TargetUrl *
target_url_parse(const char *setting)
{
	TargetUrl  *list = NULL;
	TargetUrl **tail = &list;
	const char *p = setting;
	int			number = 0;

	while (*(p += strspn(p, SPACE)) != '\0')
	{
		int			len = strcspn(p, SPACE);

		if (++number > MAX_ENTRIES)
			break;
		*tail = parse_entry(p, len, number);
		refuse_taken_name(list, *tail, number);
		tail = &(*tail)->next;
		p += len;
	}
	if (number > MAX_ENTRIES)
	{
		*tail = palloc0(sizeof(TargetUrl));
		(*tail)->name = psprintf("#%d", number);
		fail(*tail, NULL, "tokenledger.targets has more than %d entries",
			 MAX_ENTRIES);
	}
	return list;
}

bool
target_url_applies(const TargetUrl *url, const char *database)
{
	return url->database == NULL || strcmp(url->database, database) == 0;
}

const char *
target_url_option(const TargetUrl *url, const char *name)
{
	for (const UrlOption *option = url->options; option != NULL;
		 option = option->next)
		if (strcmp(option->name, name) == 0)
			return option->value;
	return NULL;
}

/* Makes the struct of one entry, and takes back what an error leaves. */
static TargetUrl *
parse_entry(const char *text, int len, int number)
{
	TargetUrl  *url = palloc0(sizeof(TargetUrl));
	char	   *copy = pnstrdup(text, len);
	bool		ok;

	if (len > MAX_ENTRY_LEN)
		ok = fail(url, NULL, "entry %d of tokenledger.targets is longer than %d bytes",
				  number, MAX_ENTRY_LEN);
	else
		ok = split_entry(url, copy);

	if (!ok)
	{
		url->user = NULL;
		url->hosts = NULL;
		url->path = NULL;
		url->options = NULL;
	}
	if (url->name == NULL)
		url->name = psprintf("#%d", number);
	return url;
}

/*
 * Divides an entry into label and URL; overwrites the text.  What stands
 * before "=" is taken for a name only if a URL follows: else it may be the
 * second half of a password that contains a space.
 */
static bool
split_entry(TargetUrl *url, char *text)
{
	char	   *equals = strchr(text, '=');
	char	   *separator = strstr(text, "://");

	if (!check_characters(url, text))
		return false;
	if (equals == NULL || (separator != NULL && separator < equals))
		return fail(url, HINT_FORM HINT_SPACE,
					"the entry does not begin with \"name=\"");
	if (equals[1] == '\0')
		return fail(url, HINT_FORM HINT_SPACE,
					"the entry has nothing after \"=\"");
	if (separator == NULL)
		return fail(url, HINT_FORM HINT_SPACE,
					"the entry has no \"scheme://\" after \"=\"");

	*equals = '\0';
	return parse_label(url, text) && parse_url(url, equals + 1);
}

static bool
check_characters(TargetUrl *url, const char *text)
{
	for (const char *c = text; *c != '\0'; c++)
		if ((unsigned char) *c < ' ' || *c == 0x7f)
			return fail(url, NULL, "the entry contains a control character");
	return true;
}

/* [database/]name; sets neither if one of them is wrong. */
static bool
parse_label(TargetUrl *url, char *label)
{
	char	   *slash = strchr(label, '/');
	char	   *name = slash != NULL ? slash + 1 : label;
	char	   *database = NULL;

	if (slash != NULL)
	{
		*slash = '\0';
		if (*label == '\0')
			return fail(url, "Write name=URL for all databases, or database/name=URL for one.",
						"the database's name before \"/\" is empty");

		/* A database's name need not be valid in any encoding. */
		database = decode(url, "database's name", label, MAX_NAME_LEN, false);
		if (database == NULL)
			return false;
	}
	if (*name == '\0' || strchr(LETTERS "_", *name) == NULL ||
		name[strspn(name, LETTERS DIGITS "_-")] != '\0' ||
		strlen(name) > MAX_NAME_LEN)
		return fail(url, HINT_FORM,
					"the target's name before \"=\" is not a letter or underscore followed by at most 62 letters, digits, underscores and hyphens");

	url->database = database;
	url->name = pstrdup(name);
	return true;
}

/* The text contains "://". */
static bool
parse_url(TargetUrl *url, char *text)
{
	char	   *separator = strstr(text, "://");

	*separator = '\0';
	return parse_scheme(url, text) && parse_rest(url, separator + 3);
}

static bool
parse_scheme(TargetUrl *url, char *text)
{
	for (char *c = text; *c != '\0'; c++)
		*c = pg_ascii_tolower((unsigned char) *c);

	if (strcmp(text, "tokenledger") == 0 || strcmp(text, PREFIX) == 0)
		return fail(url, HINT_FORM, "the URL does not name a backend");
	if (strncmp(text, PREFIX, strlen(PREFIX)) == 0)
		text += strlen(PREFIX);
	if (strchr(text, '+') != NULL)
		return fail(url, HINT_FORM,
					"the URL's scheme has a \"+\" that does not follow \"tokenledger\"");
	if (*text == '\0' || strchr(LOWER, *text) == NULL ||
		text[strspn(text, LOWER DIGITS "_-")] != '\0' ||
		strlen(text) > MAX_SCHEME_LEN)
		return fail(url, HINT_FORM,
					"the URL's scheme is not a letter followed by at most %d letters, digits, underscores and hyphens",
					MAX_SCHEME_LEN - 1);

	url->scheme = pstrdup(text);
	return true;
}

/* What follows "://". */
static bool
parse_rest(TargetUrl *url, char *text)
{
	char	   *query;
	char	   *path;

	if (hides_password(text))
		return fail(url, HINT_PASSWORD " If there is none, write \"@\" as %40.",
					"the URL seems to hold a password");
	if (strchr(text, '#') != NULL)
		return fail(url, "Write %23 for \"#\" in a value.",
					"the URL has a fragment (\"#\")");

	if ((query = strchr(text, '?')) != NULL)
		*query++ = '\0';
	if ((path = strchr(text, '/')) != NULL)
		*path++ = '\0';

	if (!parse_authority(url, text))
		return false;
	if (path != NULL && *path != '\0' &&
		(url->path = decode(url, "path", path, MAX_PATH_LEN, true)) == NULL)
		return false;
	return query == NULL || parse_options(url, query);
}

/*
 * Is there user:password@, with a password that was not encoded, beyond what
 * the grammar takes for the authority?  "u:1/2@host" reads as host "u", port
 * 1 and path "2@host".
 */
static bool
hides_password(const char *text)
{
	int			authority = strcspn(text, "/?#");
	const char *colon = memchr(text, ':', authority);

	return colon != NULL && memchr(text, '@', authority) == NULL &&
		strchr(text + authority, '@') != NULL;
}

/* [user@]hosts */
static bool
parse_authority(TargetUrl *url, char *text)
{
	char	   *at = strrchr(text, '@');

	if (at != NULL)
	{
		*at = '\0';
		if (!parse_user(url, text))
			return false;
		text = at + 1;
	}
	return *text == '\0' || parse_hosts(url, text);
}

static bool
parse_user(TargetUrl *url, char *text)
{
	if (*text == '\0')
		return fail(url, NULL, "the user before \"@\" is empty");
	url->user = decode(url, "user", text, MAX_USER_LEN, true);
	if (strchr(text, ':') != NULL ||
		(url->user != NULL && strchr(url->user, ':') != NULL))
		return fail(url, HINT_PASSWORD, "the URL holds a password");
	if (strchr(text, '@') != NULL)
		return fail(url, "Write %40 for \"@\" in the user.",
					"the URL has more than one \"@\" before the path");
	return url->user != NULL;
}

static bool
parse_hosts(TargetUrl *url, char *text)
{
	StringInfoData out;
	char	   *item = text;

	initStringInfo(&out);
	for (;;)
	{
		char	   *comma = strchr(item, ',');

		if (comma != NULL)
			*comma = '\0';
		if (!parse_host(url, item, &out))
			return false;
		if (comma == NULL)
			break;
		appendStringInfoChar(&out, ',');
		item = comma + 1;
	}
	url->hosts = out.data;
	return true;
}

/* host[:port] or [IPv6][:port] */
static bool
parse_host(TargetUrl *url, char *text, StringInfo out)
{
	char	   *colon = strchr(text, ':');

	if (*text == '[')
		return parse_bracketed(url, text + 1, out);
	if (colon != NULL && strchr(colon + 1, ':') != NULL)
		return fail(url, "Write an IPv6 address in brackets: [::1]:5432. A password goes into a file that the option password_file names.",
					"a host of the URL has more than one \":\"");
	if (colon != NULL)
		*colon = '\0';
	return parse_host_name(url, text, out) &&
		(colon == NULL || parse_port(url, colon + 1, out));
}

/* IPv6][:port], with the zone of a link-local address as RFC 6874 has it. */
static bool
parse_bracketed(TargetUrl *url, char *text, StringInfo out)
{
	char	   *end = strchr(text, ']');
	char	   *zone = NULL;
	struct in6_addr address;

	if (end == NULL)
		return fail(url, NULL, "a \"[\" of the URL has no \"]\"");
	*end = '\0';
	if ((zone = strstr(text, "%25")) != NULL)
	{
		*zone = '\0';
		zone += 3;
	}
	if (inet_pton(AF_INET6, text, &address) != 1 ||
		(zone != NULL && (*zone == '\0' || strlen(zone) > MAX_NAME_LEN ||
						  zone[strspn(zone, LETTERS DIGITS "._-")] != '\0')))
		return fail(url, NULL, "the URL has brackets around something that is not an IPv6 address");
	if (end[1] != '\0' && end[1] != ':')
		return fail(url, NULL, "\"]\" is not followed by \":\", \",\" or \"/\"");

	for (char *c = text; *c != '\0'; c++)
		*c = pg_ascii_tolower((unsigned char) *c);
	appendStringInfo(out, "[%s%s%s]", text, zone != NULL ? "%" : "",
					 zone != NULL ? zone : "");
	return end[1] == '\0' || parse_port(url, end + 2, out);
}

/* A name or IPv4 address, or a directory of Unix sockets, percent-encoded. */
static bool
parse_host_name(TargetUrl *url, const char *text, StringInfo out)
{
	char	   *host = decode(url, "host", text, MAX_HOST_LEN, true);
	const char *allowed = LETTERS DIGITS "._-";

	if (host == NULL)
		return false;
	if (*host == '\0')
		return fail(url, NULL, "a host of the URL is empty");
	if (*host == '/')
		allowed = LETTERS DIGITS "._-/~+";
	else
		for (char *c = host; *c != '\0'; c++)
			*c = pg_ascii_tolower((unsigned char) *c);
	if (host[strspn(host, allowed)] != '\0')
		return fail(url, "A host is a name of letters, digits, \".\", \"_\" and \"-\" (an international name in its ASCII form), an address, or a percent-encoded directory.",
					"a host of the URL has a character that is not allowed");
	appendStringInfoString(out, host);
	return true;
}

/* Appends ":port"; nothing for an empty port, which RFC 3986 allows. */
static bool
parse_port(TargetUrl *url, const char *text, StringInfo out)
{
	int			port;

	if (*text == '\0')
		return true;
	if (strlen(text) > 5 || text[strspn(text, DIGITS)] != '\0' ||
		(port = atoi(text)) < 1 || port > 65535)
		return fail(url, "A password goes into a file that the option password_file names.",
					"a port of the URL is not a number from 1 to 65535");
	appendStringInfo(out, ":%d", port);
	return true;
}

/* a=b&c=d; empty pieces are ignored. */
static bool
parse_options(TargetUrl *url, char *text)
{
	UrlOption **tail = &url->options;
	int			number = 0;

	while (text != NULL)
	{
		char	   *ampersand = strchr(text, '&');

		if (ampersand != NULL)
			*ampersand++ = '\0';
		if (*text != '\0')
		{
			if (++number > MAX_OPTIONS)
				return fail(url, NULL, "the URL has more than %d options",
							MAX_OPTIONS);
			if ((*tail = parse_option(url, text, number)) == NULL)
				return false;
			tail = &(*tail)->next;
		}
		text = ampersand;
	}
	return true;
}

static UrlOption *
parse_option(TargetUrl *url, char *text, int number)
{
	UrlOption  *option = palloc0(sizeof(UrlOption));
	char	   *equals = strchr(text, '=');
	char	   *what;

	if (equals != NULL)
		*equals = '\0';
	option->name = decode(url, "name of an option", text, MAX_NAME_LEN, true);
	if (option->name == NULL)
		return NULL;
	if (*option->name == '\0' || strchr(LETTERS "_", *option->name) == NULL ||
		option->name[strspn(option->name, LETTERS DIGITS "_.-")] != '\0')
	{
		fail(url, "Write \"&\" in a value as %26, and \"?\" in a path as %3F.",
			 "option %d of the URL has a malformed name", number);
		return NULL;
	}

	/* Without "=" the text may be part of anything, a password included. */
	if (equals == NULL)
	{
		fail(url, "Write options as ?name=value&name=value, and \"&\" in a value as %26.",
			 "option %d of the URL has no \"=\"", number);
		return NULL;
	}
	if (target_url_option(url, option->name) != NULL)
	{
		fail(url, NULL, "option \"%s\" is given more than once", option->name);
		return NULL;
	}
	what = psprintf("value of option \"%s\"", option->name);
	option->value = decode(url, what, equals + 1, MAX_ENTRY_LEN, true);
	return option->value != NULL ? option : NULL;
}

static int
hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/*
 * Percent-decodes a part of the URL; NULL after fail().  text_only: it must
 * be UTF-8, whatever the encoding of the database that will read it.
 */
static char *
decode(TargetUrl *url, const char *what, const char *text, int limit,
	   bool text_only)
{
	char	   *result = palloc(strlen(text) + 1);
	char	   *out = result;
	int			len;

	for (const char *in = text; *in != '\0'; in++)
	{
		int			byte = (unsigned char) *in;

		if (*in == '%')
		{
			int			high = hex_value(in[1]);
			int			low = high < 0 ? -1 : hex_value(in[2]);

			if (low < 0)
			{
				fail(url, "Write %25 for \"%\".",
					 "the %s has a \"%%\" that two hexadecimal digits do not follow",
					 what);
				return NULL;
			}
			byte = high * 16 + low;
			in += 2;
		}
		if (byte < ' ' || byte == 0x7f)
		{
			fail(url, NULL, "the %s contains a control character", what);
			return NULL;
		}
		*out++ = (char) byte;
	}
	*out = '\0';

	len = out - result;
	if (len > limit)
		fail(url, NULL, "the %s is longer than %d bytes", what, limit);
	else if (text_only &&
			 pg_encoding_verifymbstr(PG_UTF8, result, len) != len)
		fail(url, NULL, "the %s is not valid UTF-8", what);
	else
		return result;
	return NULL;
}

/*
 * Names are unique for each database, so that everything else can go by them:
 * a later entry loses its name.  An entry for all databases and one for a
 * single database have that one in common.
 */
static void
refuse_taken_name(const TargetUrl *list, TargetUrl *url, int number)
{
	for (const TargetUrl *other = list; other != url; other = other->next)
		if (strcmp(other->name, url->name) == 0 &&
			(other->database == NULL || url->database == NULL ||
			 strcmp(other->database, url->database) == 0))
		{
			fail(url, "Give every target of a database another name in tokenledger.targets.",
				 "entry %d repeats the target name \"%s\"", number,
				 other->name);
			url->name = psprintf("#%d", number);
			url->user = url->hosts = url->path = NULL;
			url->options = NULL;
			break;
		}
}

/* Notes what is wrong; always false. */
static bool
fail(TargetUrl *url, const char *hint, const char *fmt,...)
{
	va_list		args;
	char		message[512];

	va_start(args, fmt);
	vsnprintf(message, sizeof(message), fmt, args);
	va_end(args);
	url->error = pstrdup(message);
	url->hint = hint != NULL ? pstrdup(hint) : NULL;
	return false;
}
