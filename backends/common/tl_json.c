/*-------------------------------------------------------------------------
 *
 * tl_json.c
 *	  Reading and writing JSON, for backends.
 *
 * NB: nothing here includes utils/builtins.h, which declares a function of
 * the name of json-c's main type.
 *
 *-------------------------------------------------------------------------
 */
#include "tl_json.h"

#include <json-c/json.h>

#define MAX_DEPTH		64

/* Frees the document with its memory context. */
typedef struct Document
{
	MemoryContextCallback reset;
	json_object *root;
} Document;

static void release(void *arg);

/* A TlJson is a json_object by another name. */
static inline json_object *
object_of(TlJson *value)
{
	return (json_object *) value;
}

TlJson *
tl_json_parse(const char *text, Size len)
{
	Document   *document = palloc0(sizeof(Document));
	json_tokener *tokener;

	document->reset.func = release;
	document->reset.arg = document;
	MemoryContextRegisterResetCallback(CurrentMemoryContext,
									   &document->reset);
	tokener = json_tokener_new_ex(MAX_DEPTH);
	if (tokener == NULL || len > PG_INT32_MAX)
		return NULL;
	document->root = json_tokener_parse_ex(tokener, text, (int) len);
	json_tokener_free(tokener);
	return (TlJson *) document->root;
}

static void
release(void *arg)
{
	json_object_put(((Document *) arg)->root);
}

TlJson *
tl_json_get(TlJson *value, const char *path)
{
	json_object *object = object_of(value);

	while (object != NULL)
	{
		const char *dot = strchr(path, '.');
		char	   *name = dot ? pnstrdup(path, dot - path) : NULL;

		if (!json_object_is_type(object, json_type_object) ||
			!json_object_object_get_ex(object, name ? name : path, &object))
			return NULL;
		if (dot == NULL)
			break;
		path = dot + 1;
	}
	return (TlJson *) object;
}

int
tl_json_length(TlJson *array)
{
	return json_object_is_type(object_of(array), json_type_array) ?
		(int) json_object_array_length(object_of(array)) : 0;
}

TlJson *
tl_json_item(TlJson *array, int i)
{
	return i < tl_json_length(array) ?
		(TlJson *) json_object_array_get_idx(object_of(array), i) : NULL;
}

const char *
tl_json_text(TlJson *value)
{
	switch (json_object_get_type(object_of(value)))
	{
		case json_type_string:
		case json_type_int:
		case json_type_double:
		case json_type_boolean:
			return json_object_get_string(object_of(value));
		default:
			return NULL;
	}
}

const char *
tl_json_get_text(TlJson *value, const char *path)
{
	return tl_json_text(tl_json_get(value, path));
}

int64
tl_json_get_int64(TlJson *value, const char *path, int64 otherwise)
{
	const char *text = tl_json_get_text(value, path);

	return text != NULL ? strtoll(text, NULL, 10) : otherwise;
}

char *
tl_json_print(TlJson *value)
{
	return pstrdup(json_object_to_json_string_ext(object_of(value),
												  JSON_C_TO_STRING_PLAIN));
}

void
tl_json_append_string(StringInfo out, const char *text, Size len)
{
	static const char digits[] = "0123456789abcdef";
	Size		plain = 0;		/* where what is not yet copied begins */

	appendStringInfoChar(out, '"');
	for (Size i = 0; i < len; i++)
	{
		unsigned char c = text[i];

		if (c >= ' ' && c != '"' && c != '\\')
			continue;
		appendBinaryStringInfo(out, text + plain, i - plain);
		plain = i + 1;
		if (c >= ' ')
		{
			appendStringInfoChar(out, '\\');
			appendStringInfoChar(out, c);
			continue;
		}
		appendStringInfoString(out, "\\u00");
		appendStringInfoChar(out, digits[c >> 4]);
		appendStringInfoChar(out, digits[c & 15]);
	}
	appendBinaryStringInfo(out, text + plain, len - plain);
	appendStringInfoChar(out, '"');
}
