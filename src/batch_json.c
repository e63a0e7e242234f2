/*-------------------------------------------------------------------------
 *
 * batch_json.c
 *	  A jsonb becomes its text, within a limit.
 *
 * JsonbToCString() has no limit, and the stored size bounds nothing: twelve
 * bytes of numeric print as 131,000 digits, so a jsonb of some kilobytes can
 * be a text of more than a gigabyte, at which the server throws.  One such
 * event would stop its lane for ever.  Here the text is measured after each
 * token.  What is printed is what jsonb's output function prints.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "batch_convert.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"

typedef struct JsonPrinter
{
	StringInfo	out;
	int			max;			/* length of out that is allowed */
	bool		first;			/* does the next item need no comma? */
	bool		scalar;			/* a lone scalar, stored as an array */
} JsonPrinter;

static void print_token(JsonPrinter *printer, JsonbIteratorToken token,
						const JsonbValue *value);
static void print_open(JsonPrinter *printer, const char *bracket);
static void print_comma(JsonPrinter *printer);
static void print_scalar(const JsonPrinter *printer, const JsonbValue *value);
static void print_string(const JsonPrinter *printer, const char *text,
						 int len);
static void print_escape(StringInfo out, unsigned char c);

static inline void
print(StringInfo out, const char *token)
{
	bytes_append(out, token, strlen(token));
}

TextResult
json_append(StringInfo out, JsonbContainer *json, int max)
{
	JsonPrinter printer = {.out = out, .max = out->len + max, .first = true};
	JsonbIterator *iterator = JsonbIteratorInit(json);
	JsonbIteratorToken token;
	JsonbValue	value;

	while ((token = JsonbIteratorNext(&iterator, &value, false)) != WJB_DONE)
	{
		print_token(&printer, token, &value);
		if (out->len > printer.max)
			return TEXT_TOO_LARGE;
	}
	return TEXT_OK;
}

static void
print_token(JsonPrinter *printer, JsonbIteratorToken token,
			const JsonbValue *value)
{
	switch (token)
	{
		case WJB_BEGIN_ARRAY:
			printer->scalar = value->val.array.rawScalar;
			print_open(printer, printer->scalar ? "" : "[");
			break;
		case WJB_BEGIN_OBJECT:
			print_open(printer, "{");
			break;
		case WJB_KEY:
			print_comma(printer);
			print_scalar(printer, value);
			print(printer->out, ": ");
			printer->first = true;	/* of the value that follows */
			break;
		case WJB_VALUE:
		case WJB_ELEM:
			print_comma(printer);
			print_scalar(printer, value);
			break;
		case WJB_END_ARRAY:
			print(printer->out, printer->scalar ? "" : "]");
			printer->first = false;
			break;
		case WJB_END_OBJECT:
			print(printer->out, "}");
			printer->first = false;
			break;
		default:
			elog(ERROR, "unexpected jsonb token %d", (int) token);
	}
}

static void
print_open(JsonPrinter *printer, const char *bracket)
{
	print_comma(printer);
	print(printer->out, bracket);
	printer->first = true;
}

static void
print_comma(JsonPrinter *printer)
{
	if (!printer->first)
		print(printer->out, ", ");
	printer->first = false;
}

static void
print_scalar(const JsonPrinter *printer, const JsonbValue *value)
{
	StringInfo	out = printer->out;
	Datum		number;

	switch (value->type)
	{
		case jbvNull:
			print(out, "null");
			break;
		case jbvBool:
			print(out, value->val.boolean ? "true" : "false");
			break;
		case jbvString:
			print_string(printer, value->val.string.val,
						 value->val.string.len);
			break;
		case jbvNumeric:
			number = NumericGetDatum(value->val.numeric);
			print(out, DatumGetCString(DirectFunctionCall1(numeric_out,
														   number)));
			break;
		default:
			elog(ERROR, "unexpected jsonb value type %d", (int) value->type);
	}
}

static inline bool
needs_escape(unsigned char c)
{
	return c < ' ' || c == '"' || c == '\\';
}

/*
 * Stops early when the limit is passed: escapes make a string up to six times
 * as long.  Every server encoding has ASCII bytes for ASCII characters only.
 */
static void
print_string(const JsonPrinter *printer, const char *text, int len)
{
	StringInfo	out = printer->out;
	int			start = 0;

	print(out, "\"");
	for (int i = 0; i < len && out->len <= printer->max; i++)
	{
		if (likely(!needs_escape(text[i])))
			continue;
		bytes_append(out, text + start, i - start);
		print_escape(out, text[i]);
		start = i + 1;
	}
	bytes_append(out, text + start, len - start);
	print(out, "\"");
}

static void
print_escape(StringInfo out, unsigned char c)
{
	static const char letters[] = "\bb\ff\nn\rr\tt\"\"\\\\";

	for (const char *p = letters; *p != '\0'; p += 2)
	{
		if ((unsigned char) *p == c)
		{
			char		escape[] = {'\\', p[1]};

			bytes_append(out, escape, sizeof(escape));
			return;
		}
	}
	appendStringInfo(out, "\\u%04x", c);
}
