/*-------------------------------------------------------------------------
 *
 * tl_text.c
 *	  UUIDs and addresses as text, for backends.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tl_text.h"

static bool is_local(const char *host, Size len);

void
tl_append_uuid(StringInfo out, const pg_uuid_t *uuid)
{
	static const char digits[] = "0123456789abcdef";

	for (int i = 0; i < UUID_LEN; i++)
	{
		if (i == 4 || i == 6 || i == 8 || i == 10)
			appendStringInfoChar(out, '-');
		appendStringInfoChar(out, digits[uuid->data[i] >> 4]);
		appendStringInfoChar(out, digits[uuid->data[i] & 15]);
	}
}

bool
tl_read_uuid(const char *text, pg_uuid_t *uuid)
{
	int			n = 0;

	memset(uuid, 0, sizeof(*uuid));
	for (; *text != '\0'; text++)
	{
		int			digit;

		if (*text == '-')
			continue;
		if (*text >= '0' && *text <= '9')
			digit = *text - '0';
		else if (*text >= 'a' && *text <= 'f')
			digit = *text - 'a' + 10;
		else if (*text >= 'A' && *text <= 'F')
			digit = *text - 'A' + 10;
		else
			return false;
		if (n == 2 * UUID_LEN)
			return false;
		uuid->data[n / 2] |= digit << (n % 2 == 0 ? 4 : 0);
		n++;
	}
	return n == 2 * UUID_LEN;
}

bool
tl_host_is_local(const char *host)
{
	return is_local(host, strlen(host));
}

bool
tl_url_is_local(const char *url)
{
	const char *host = strstr(url, "://");

	if (host == NULL)
		return false;
	host += 3;
	return is_local(host, *host == '[' ? strcspn(host, "]") + 1 :
					strcspn(host, ":/"));
}

bool
tl_url_is_open(const char *url)
{
	return strncmp(url, "https://", 8) != 0 && !tl_url_is_local(url);
}

static bool
is_local(const char *host, Size len)
{
	return (len == 9 && strncmp(host, "localhost", 9) == 0) ||
		(len == 5 && strncmp(host, "[::1]", 5) == 0) ||
		(strncmp(host, "127.", 4) == 0 && strspn(host, "0123456789.") == len);
}
