/*-------------------------------------------------------------------------
 *
 * sqlstate.c
 *	  What an error of the remote server means for a batch.
 *
 * One table from SQLSTATE (PostgreSQL, Appendix A) to outcome and cause.  The
 * outcome presumes that the transaction has certainly been rolled back; who
 * cannot know that says TL_UNKNOWN instead.  Only errors which a single event
 * can provoke blame the events.  Everything not listed is the store's fault:
 * a target that waits can be mended, an event set aside in error cannot.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tlpg.h"

static const TlpgErrorClass error_classes[] = {
	/* longer prefixes before shorter ones */
	{"08P01", TL_RETRY, TL_CAUSE_CONFIG, true}, /* a pooler's complaint */
	{"08", TL_RETRY, TL_CAUSE_NETWORK, true},
	{"0A", TL_RETRY, TL_CAUSE_CONFIG, true},	/* READ WRITE on a standby */
	{"0L", TL_RETRY, TL_CAUSE_AUTH, false},
	{"0P", TL_RETRY, TL_CAUSE_AUTH, false},
	{"22P03", TL_RETRY, TL_CAUSE_SCHEMA, false},	/* binary of another type */
	{"22P04", TL_RETRY, TL_CAUSE_SCHEMA, false},	/* bad COPY file */
	{"22023", TL_RETRY, TL_CAUSE_CONFIG, false},	/* value of a setting */
	{"22", TL_REFUSED, TL_CAUSE_DATA, false},
	{"23", TL_REFUSED, TL_CAUSE_DATA, false},
	{"25006", TL_RETRY, TL_CAUSE_CONFIG, true}, /* read-only, or a standby */
	{"25", TL_RETRY, TL_CAUSE_NETWORK, true},
	{"26", TL_RETRY, TL_CAUSE_CONFIG, true},
	{"28", TL_RETRY, TL_CAUSE_AUTH, true},
	{"3D", TL_RETRY, TL_CAUSE_CONFIG, true},
	{"3F", TL_RETRY, TL_CAUSE_SCHEMA, false},
	{"40003", TL_UNKNOWN, TL_CAUSE_NETWORK, true},
	{"40", TL_RETRY, TL_CAUSE_OVERLOAD, false},
	{"42501", TL_RETRY, TL_CAUSE_AUTH, false},
	{"42", TL_RETRY, TL_CAUSE_SCHEMA, false},
	{"44", TL_REFUSED, TL_CAUSE_DATA, false},
	{"53100", TL_RETRY, TL_CAUSE_QUOTA, false}, /* disk full */
	{"53400", TL_RETRY, TL_CAUSE_QUOTA, false},
	{"53", TL_RETRY, TL_CAUSE_OVERLOAD, true},
	{"54011", TL_RETRY, TL_CAUSE_SCHEMA, false},	/* too many columns */
	{"54023", TL_RETRY, TL_CAUSE_SCHEMA, false},	/* too many arguments */
	{"54", TL_SPLIT, TL_CAUSE_DATA, false},
	{"55P03", TL_RETRY, TL_CAUSE_OVERLOAD, false},	/* lock_timeout */
	{"55", TL_RETRY, TL_CAUSE_CONFIG, false},
	{"57014", TL_RETRY, TL_CAUSE_OVERLOAD, false},	/* statement_timeout */
	{"57P04", TL_RETRY, TL_CAUSE_CONFIG, true}, /* database dropped */
	{"57", TL_RETRY, TL_CAUSE_NETWORK, true},
	{"58", TL_RETRY, TL_CAUSE_CONFIG, true},
	{"HV", TL_RETRY, TL_CAUSE_NETWORK, false},
	{"P0", TL_REFUSED, TL_CAUSE_DATA, false},	/* a user's trigger raised it */
	{"", TL_RETRY, TL_CAUSE_CONFIG, false}
};

static bool is_sqlstate(const char *p);

/* Never NULL; an SQLSTATE that is NULL or empty gets the last entry. */
const TlpgErrorClass *
tlpg_classify(const char *sqlstate)
{
	const TlpgErrorClass *class = error_classes;

	if (sqlstate == NULL)
		sqlstate = "";
	while (strncmp(sqlstate, class->prefix, strlen(class->prefix)) != 0)
		class++;
	return class;
}

/*
 * The line of a COPY that an error's context names: the row, counted from 1.
 * The server translates its contexts ("COPY t, Zeile 17"), so only the
 * table's name and the number after it are relied upon.  0: none named.
 */
int64
tlpg_copy_line(const char *context, const char *table)
{
	int64		line = 0;

	while (context != NULL && *context != '\0')
	{
		const char *end = context + strcspn(context, "\n");
		const char *verb = strstr(context, "COPY");
		const char *p = strstr(context, table);

		if (verb != NULL && verb < end && p != NULL && p < end)
		{
			p += strlen(table);
			p += strcspn(p, "0123456789\n");
			if (p < end)
				line = strtoll(p, NULL, 10);
		}
		context = *end == '\0' ? end : end + 1;
	}
	return line;
}

/*
 * libpq does not offer the SQLSTATE of a refused connection, but with verbose
 * messages its text holds it: "...: FATAL:  28P01: password authentication
 * failed ...".  Cuts the code and the first line of the message out; false:
 * the text holds no code (the server was not reached).
 */
bool
tlpg_parse_connect_error(const char *text, char *sqlstate, char *message,
						 Size size)
{
	for (const char *p = strstr(text, ":  "); p != NULL;
		 p = strstr(p + 1, ":  "))
	{
		Size		len;

		if (!is_sqlstate(p + 3))
			continue;
		memcpy(sqlstate, p + 3, 5);
		sqlstate[5] = '\0';
		p += 10;
		len = Min(strcspn(p, "\n"), size - 1);
		memcpy(message, p, len);
		message[len] = '\0';
		return true;
	}
	return false;
}

/* Five digits or capitals, then a colon and a space. */
static bool
is_sqlstate(const char *p)
{
	return strspn(p, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") == 5 &&
		p[5] == ':' && p[6] == ' ';
}

/* Makes libpq's text one line without a newline at its end. */
void
tlpg_clean(char *message)
{
	char	   *to = message;

	for (const char *p = message; *p != '\0'; p++)
	{
		bool		blank = strchr(" \t\r\n", *p) != NULL;

		if (!blank)
			*to++ = *p;
		else if (to > message && to[-1] != ' ')
			*to++ = ' ';
	}
	while (to > message && to[-1] == ' ')
		to--;
	*to = '\0';
}
