/*-------------------------------------------------------------------------
 *
 * unit.c
 *	  Reports the checks of a unit test as TAP.  See unit.h.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres_fe.h"

#include "unit.h"

static int	checks = 0;
static int	failures = 0;
static const char *current = "";

void
unit_test(const char *name)
{
	current = name;
}

bool
unit_check(bool ok, const char *what, const char *file, int line)
{
	checks++;
	if (!ok)
		failures++;
	printf("%sok %d - %s: %s\n", ok ? "" : "not ", checks, current, what);
	if (!ok)
		printf("#   at %s line %d\n", file, line);
	fflush(stdout);
	return ok;
}

bool
unit_check_int(long long actual, long long expected, const char *what,
			   const char *file, int line)
{
	bool		ok = unit_check(actual == expected, what, file, line);

	if (!ok)
		printf("#   got      %lld\n#   expected %lld\n", actual, expected);
	return ok;
}

/* Newlines would end the TAP comment. */
static void
print_text(const char *label, const char *text)
{
	printf("#   %s ", label);
	if (text == NULL)
		printf("(null)");
	for (; text != NULL && *text != '\0'; text++)
	{
		if (*text == '\n')
			printf("\\n");
		else
			putchar(*text);
	}
	putchar('\n');
}

bool
unit_check_str(const char *actual, const char *expected, const char *what,
			   const char *file, int line)
{
	bool		same;

	if (actual == NULL || expected == NULL)
		same = actual == expected;
	else
		same = strcmp(actual, expected) == 0;

	unit_check(same, what, file, line);
	if (!same)
	{
		print_text("got     ", actual);
		print_text("expected", expected);
	}
	return same;
}

static void
print_bytes(const char *label, const unsigned char *bytes, size_t len)
{
	printf("#   %s", label);
	for (size_t i = 0; i < len; i++)
		printf(" %02x", bytes[i]);
	putchar('\n');
}

bool
unit_check_mem(const void *actual, const void *expected, size_t len,
			   const char *what, const char *file, int line)
{
	const unsigned char *a = actual;
	const unsigned char *e = expected;
	size_t		from = 0;
	size_t		show;

	while (from < len && a[from] == e[from])
		from++;
	if (unit_check(from == len, what, file, line))
		return true;

	show = Min(len - from, (size_t) 16);
	printf("#   differs from byte %zu of %zu on\n", from, len);
	print_bytes("got     ", a + from, show);
	print_bytes("expected", e + from, show);
	return false;
}

void
unit_skip(const char *reason)
{
	checks++;
	printf("ok %d # skip %s\n", checks, reason);
}

int
unit_done(void)
{
	printf("1..%d\n", checks);
	if (failures > 0)
		printf("# %d of %d checks failed\n", failures, checks);
	return failures > 0 || checks == 0 ? 1 : 0;
}
