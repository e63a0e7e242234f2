/*
 * sources: src/options.c src/option_value.c src/secret.c src/target_url.c
 *
 * test_options.c
 *	  Options of a URL against declarations; secrets in files.
 *
 * Each case is a query as a URL has it, and the expected values, or the
 * expected error and hint.
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "options.h"
#include "storage/fd.h"
#include "unit.h"

#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

#define SECRET	"s3cr3t"

static const char *const colors[] = {"red", "Green", NULL};
static const char *const none[] = {NULL};

static const TlOption core[] = {
	{"lanes", TL_INT_OPT, 0, "1", 1, 64},
	{"timeout", TL_MS_OPT, 0, "30s", 100, 86400000},
	{"bytes", TL_BYTES_OPT, 0, "8192kB", 65536, 536870912},
	{"create", TL_BOOL_OPT, 0, "on"},
	{"table", TL_STRING_OPT, TL_OPT_DESTINATION},
	{"common", TL_INT_OPT, 0, "1", 0, 10},
	{.name = NULL}
};

static const TlOption backend[] = {
	{"color", TL_ENUM_OPT, TL_OPT_DESTINATION, "red", 0, 0, colors},
	{"any", TL_INT_OPT},
	{"wait", TL_MS_OPT},
	{"host", TL_STRING_OPT, TL_OPT_DESTINATION, "/run"},
	{"password", TL_STRING_OPT, TL_OPT_SECRET},
	{"key", TL_STRING_OPT, TL_OPT_SECRET},
	{"key_file", TL_STRING_OPT, 0},
	{"lib.", TL_STRING_OPT, TL_OPT_PREFIX},
	{"auth.", TL_STRING_OPT, TL_OPT_PREFIX | TL_OPT_SECRET},
	{"common", TL_INT_OPT, 0, "7", 5, 20},
	{.name = NULL}
};

static const TlOption demanding[] = {
	{"path", TL_STRING_OPT, TL_OPT_REQUIRED},
	{.name = NULL}
};

static const TlOption demanding_secret[] = {
	{"token", TL_STRING_OPT, TL_OPT_REQUIRED | TL_OPT_SECRET},
	{.name = NULL}
};

static char directory[] = P_tmpdir "/test_options.XXXXXX";
static char *error;
static char *hint;

/* The server's, which closes other files when there are too many. */
int
BasicOpenFile(const char *name, int flags)
{
	return open(name, flags);
}

static Options *
parse_with(const char *query, const TlOption *declared, bool core_only)
{
	TargetUrl  *url = target_url_parse(psprintf("t=x://h?%s", query));
	OptionSpec	spec;

	if (!CHECK_STR(url->error, NULL))
		exit(1);
	spec.core = core;
	spec.backend = declared;
	spec.core_only = core_only;
	return options_parse(url->options, &spec, &error, &hint);
}

static Options *
parse(const char *query)
{
	return parse_with(query, backend, false);
}

/* The value that the query gives the option. */
static void
accepts(const char *query, const char *name, const char *expected)
{
	Options    *options = parse(query);

	if (CHECK_STR(error, NULL))
		CHECK_STR(options_get(options, name), expected);
}

static void
refuses(const char *query, const char *expected_error,
		const char *expected_hint)
{
	CHECK(parse(query) == NULL);
	CHECK_STR(error, expected_error);
	CHECK_STR(hint, expected_hint);
	CHECK(error == NULL || strstr(error, SECRET) == NULL);
}

static void
test_defaults(void)
{
	Options    *options = parse("");

	unit_test("defaults");
	CHECK_STR(error, NULL);
	CHECK_INT(options_get_int(options, "lanes"), 1);
	CHECK_INT(options_get_int(options, "timeout"), 30000);
	CHECK_STR(options_get(options, "bytes"), "8388608");
	CHECK(options_get_bool(options, "create"));
	CHECK_STR(options_get(options, "table"), NULL);
	CHECK_STR(options_get(options, "color"), "red");
	CHECK_STR(options_get(options, "any"), NULL);
	CHECK_STR(options_get(options, "nonsense"), NULL);
	CHECK_STR(options_get(options, "common"), "7");
	CHECK(!options_given(options, "lanes"));
	CHECK(options_given(parse("lanes=1"), "lanes"));
	CHECK(!options_given(options, "table"));
}

static void
test_numbers(void)
{
	unit_test("numbers");
	accepts("lanes=64", "lanes", "64");
	accepts("lanes=%2B2", "lanes", "2");
	accepts("lanes=007", "lanes", "7");
	accepts("any=-5", "any", "-5");
	accepts("any=999999999999999999", "any", "999999999999999999");
	accepts("timeout=100", "timeout", "100");
	accepts("timeout=100ms", "timeout", "100");
	accepts("timeout=5min", "timeout", "300000");
	accepts("timeout=2h", "timeout", "7200000");
	accepts("timeout=1d", "timeout", "86400000");
	accepts("timeout=1.5s", "timeout", "1500");
	accepts("timeout=0.1004s", "timeout", "100");
	accepts("timeout=30%20s", "timeout", "30000");
	accepts("wait=0", "wait", "0");
	accepts("bytes=65536", "bytes", "65536");
	accepts("bytes=65536B", "bytes", "65536");
	accepts("bytes=64kB", "bytes", "65536");
	accepts("bytes=0.5MB", "bytes", "524288");
	accepts("bytes=0.5GB", "bytes", "536870912");
	accepts("common=20", "common", "20");
}

static void
test_wrong_numbers(void)
{
	static const char *const wrong[] = {"", "0", "65", "-1", "1.5", "1.0",
		"x", "1x", "1s", "0x10", "1e1", "99999999999999999999",
	"999999999999999999999999", "--1", "+", ".5", "1."};
	static const char *const times[] = {"99", "25h", "1.5d", "1S", "1%20m", "1us",
	"-1s", "106751991167d", "99999999999999.9d", "s"};

	unit_test("wrong numbers");
	for (int i = 0; i < lengthof(wrong); i++)
		refuses(psprintf("lanes=%s", wrong[i]),
				psprintf("invalid value for option \"lanes\": \"%s\"",
						 wrong[i]),
				"Write a whole number, from 1 to 64.");
	refuses("lanes=1%20x", "invalid value for option \"lanes\": \"1 x\"",
			"Write a whole number, from 1 to 64.");
	for (int i = 0; i < lengthof(times); i++)
	{
		CHECK(parse(psprintf("timeout=%s", times[i])) == NULL);
		CHECK_STR(hint, "Write a time, such as 500ms, 30s, 5min or 2h, from 100ms to 1d.");
	}
	refuses("bytes=1MiB", "invalid value for option \"bytes\": \"1MiB\"",
			"Write a size, such as 64kB or 8MB, from 64kB to 512MB.");
	refuses("wait=-1", "invalid value for option \"wait\": \"-1\"",
			"Write a time, such as 500ms, 30s, 5min or 2h.");
	refuses("common=4", "invalid value for option \"common\": \"4\"",
			"Write a whole number, from 5 to 20.");
}

static void
test_words(void)
{
	static const char *const yes[] = {"on", "ON", "true", "Yes", "1"};
	static const char *const no[] = {"off", "False", "no", "0"};

	unit_test("words");
	for (int i = 0; i < lengthof(yes); i++)
		accepts(psprintf("create=%s", yes[i]), "create", "on");
	for (int i = 0; i < lengthof(no); i++)
		accepts(psprintf("create=%s", no[i]), "create", "off");
	refuses("create=", "invalid value for option \"create\": \"\"",
			"Write \"on\" or \"off\".");
	refuses("create=2", "invalid value for option \"create\": \"2\"",
			"Write \"on\" or \"off\".");
	accepts("color=RED", "color", "red");
	accepts("color=green", "color", "Green");
	refuses("color=blue", "invalid value for option \"color\": \"blue\"",
			"Available values: red, Green.");
	accepts("table=A.%22b%22", "table", "A.\"b\"");
	accepts("table=", "table", "");
	refuses("color=%C3%A9"
			"0123456789012345678901234567890123456789012345678901234567890123",
			"invalid value for option \"color\": \"??"
			"01234567890123456789012345678901234567890123456789012345678901...\"",
			"Available values: red, Green.");
}

#define KNOWN \
	"Known options: color, any, wait, host, password_file, key_file, key_file, lib.*, auth.*_file, common, lanes, timeout, bytes, create, table."

static void
test_unknown(void)
{
	Options    *options;

	unit_test("unknown");
	refuses("tabel=x", "unknown option \"tabel\"",
			"Perhaps you mean \"table\". " KNOWN);
	refuses("Lanes=1", "unknown option \"Lanes\"",
			"Perhaps you mean \"lanes\". " KNOWN);
	refuses("zzzzzzzz=1", "unknown option \"zzzzzzzz\"", KNOWN);
	refuses("lib.=1", "unknown option \"lib.\"",
			"Perhaps you mean \"lib.*\". " KNOWN);

	options = parse_with("zzz=1&password=x&lanes=2&lib.a=b", NULL, true);
	CHECK_STR(error, NULL);
	CHECK_INT(options_get_int(options, "lanes"), 2);
	CHECK_STR(options_get(options, "zzz"), NULL);
	CHECK(parse_with("lanes=0", NULL, true) == NULL);
}

static void
test_prefix(void)
{
	Options    *options = parse("lib.b=1&lanes=2&lib.a.c=3");
	const char *name;
	const char *value;
	int			iter = 0;

	unit_test("prefix");
	CHECK_STR(options_get(options, "lib.b"), "1");
	CHECK(options_next(options, "lib.", &iter, &name, &value));
	CHECK_STR(name, "lib.b");
	CHECK_STR(value, "1");
	CHECK(options_next(options, "lib.", &iter, &name, &value));
	CHECK_STR(name, "lib.a.c");
	CHECK_STR(value, "3");
	CHECK(!options_next(options, "lib.", &iter, &name, &value));
	refuses("lib.sasl.password=" SECRET,
			"option \"lib.sasl.password\" holds a secret, which must not be written in the URL",
			"The function token_ledger.backend_options() shows which options read secrets from files.");
	refuses("auth.x=" SECRET,
			"option \"auth.x\" holds a secret, which must not be written in the URL",
			"Put it into a file that only the server can read, and write auth.x_file=/path/to/file in tokenledger.targets.");
}

static void
test_required(void)
{
	unit_test("required");
	CHECK(parse_with("", demanding, false) == NULL);
	CHECK_STR(error, "option \"path\" is required");
	CHECK(parse_with("path=x", demanding, false) != NULL);
	CHECK(parse_with("", demanding_secret, false) == NULL);
	CHECK_STR(error, "option \"token_file\" is required");
}

static void
destination(const char *query, const char *expected)
{
	StringInfoData out;

	initStringInfo(&out);
	options_append_destination(parse(query), &out);
	CHECK_STR(out.data, expected);
}

static void
test_destination(void)
{
	unit_test("destination");
	destination("", "");
	destination("lanes=3&timeout=1s", "");
	destination("color=RED&host=/run", "");
	destination("table=a.b&color=green", "?color=Green&table=a.b");
	destination("color=green&table=a.b", "?color=Green&table=a.b");
	destination("table=a%26b%3D%C3%A9%20?", "?table=a%26b%3D%C3%A9%20%3F");
}

/* Writes a file and sets its mode whatever the umask. */
static char *
make_file(const char *name, const char *data, int len, int mode)
{
	char	   *path = psprintf("%s/%s", directory, name);
	FILE	   *file = fopen(path, "w");

	if (file == NULL || fwrite(data, 1, len, file) != len ||
		fclose(file) != 0 || chmod(path, mode) != 0)
		abort();
	return path;
}

/* Is the secret in the file what is expected?  NULL: refused at load. */
static void
secret_is(const char *path, const char *expected, const char *expected_error)
{
	Options    *options = parse(psprintf("password_file=%s", path));
	StringInfoData out;
	char	   *why;

	CHECK_STR(error, expected_error);
	if (options == NULL)
		return;
	CHECK_STR(options_get(options, "password"), NULL);
	CHECK_STR(options_get(options, "password_file"), path);
	initStringInfo(&out);
	CHECK(options_secret(options, "password", &out, &why));
	CHECK_STR(out.data, expected);
}

static char *
file_error(const char *path, const char *what)
{
	return psprintf("option \"password_file\": file \"%s\" %s", path, what);
}

#define OPEN_TO_ALL \
	"can be accessed by group or others; it must have mode 0600 or less"

static void
test_secret_files(void)
{
	static const int wrong_modes[] = {0640, 0604, 0660, 0610, 0601, 0644};
	char	   *path;

	unit_test("secret files");
	secret_is(make_file("a", SECRET, 6, 0600), SECRET, NULL);
	secret_is(make_file("a", SECRET "\n", 7, 0400), SECRET, NULL);
	secret_is(make_file("b", SECRET "\r\n", 8, 0600), SECRET, NULL);
	secret_is(make_file("c", " " SECRET " \n\n", 10, 0600), " " SECRET " \n",
			  NULL);
	for (int i = 0; i < lengthof(wrong_modes); i++)
	{
		path = make_file("d", SECRET, 6, wrong_modes[i]);
		secret_is(path, NULL, file_error(path, OPEN_TO_ALL));
		unlink(path);
	}
	path = make_file("e", "", 0, 0600);
	secret_is(path, NULL, file_error(path, "is empty"));
	path = make_file("f", "\n", 1, 0600);
	secret_is(path, NULL, file_error(path, "is empty"));
	path = make_file("g", SECRET "\0x", 8, 0600);
	secret_is(path, NULL, file_error(path, "contains a zero byte"));
	path = make_file("h", palloc0(65537), 65537, 0600);
	secret_is(path, NULL, file_error(path, "is too large for a secret"));
	secret_is(directory, NULL,
			  file_error(directory, "is not a regular file"));
	secret_is(SECRET, NULL,
			  "option \"password_file\" is not an absolute path");
	secret_is("/nonexistent/x", NULL,
			  "option \"password_file\": could not open file \"/nonexistent/x\": No such file or directory");
	CHECK(parse("password_file=/etc/passwd") == NULL);
	CHECK(strstr(error, "can be accessed by") != NULL);
}

/* A pipe must not block, a symbolic link leads to the file. */
static void
test_special_files(void)
{
	char	   *target = make_file("target", SECRET, 6, 0600);
	char	   *link = psprintf("%s/link", directory);
	char	   *fifo = psprintf("%s/fifo", directory);

	unit_test("special files");
	CHECK_INT(symlink(target, link), 0);
	secret_is(link, SECRET, NULL);
	CHECK_INT(chmod(target, 0644), 0);
	secret_is(link, NULL, file_error(link, OPEN_TO_ALL));
	CHECK_INT(mkfifo(fifo, 0600), 0);
	secret_is(fifo, NULL, file_error(fifo, "is not a regular file"));
}

/* Each reading looks at the file again. */
static void
test_rotation(void)
{
	char	   *path = make_file("r", "one", 3, 0600);
	Options    *options = parse(psprintf("password_file=%s", path));
	StringInfoData out;
	char	   *why;

	unit_test("rotation");
	initStringInfo(&out);
	CHECK(options_secret(options, "password", &out, &why));
	make_file("r", "two", 3, 0600);
	CHECK(options_secret(options, "password", &out, &why));
	CHECK_STR(out.data, "onetwo");
	CHECK_INT(chmod(path, 0644), 0);
	CHECK(!options_secret(options, "password", &out, &why));
	CHECK_STR(why, file_error(path, OPEN_TO_ALL));
	unlink(path);
	CHECK(!options_secret(options, "password", &out, &why));
	CHECK(strstr(why, "could not open file") != NULL);
	CHECK_STR(out.data, "onetwo");
	CHECK(!options_secret(options, "key", &out, &why));
	CHECK_STR(why, NULL);
}

static void
test_environment(void)
{
	StringInfoData out;
	Options    *options;
	char	   *why;

	unit_test("environment");
	setenv("TEST_OPTIONS_SECRET", SECRET, 1);
	setenv("TEST_OPTIONS_EMPTY", "", 1);
	options = parse("password_env=TEST_OPTIONS_SECRET");
	CHECK_STR(error, NULL);
	initStringInfo(&out);
	CHECK(options_secret(options, "password", &out, &why));
	CHECK_STR(out.data, SECRET);
	refuses("password_env=TEST_OPTIONS_EMPTY",
			"option \"password_env\": the environment variable is empty",
			NULL);
	refuses("password_env=" SECRET,
			"option \"password_env\" names no environment variable of the server",
			NULL);
}

static void
test_secret_rules(void)
{
	char	   *path = make_file("s", SECRET, 6, 0600);

	unit_test("secret rules");
	refuses("password=" SECRET,
			"option \"password\" holds a secret, which must not be written in the URL",
			"Put it into a file that only the server can read, and write password_file=/path/to/file in tokenledger.targets.");
	refuses(psprintf("password_file=%s&password_env=TEST_OPTIONS_SECRET",
					 path),
			"options \"password_file\" and \"password_env\" exclude each other",
			NULL);
	accepts("key_file=anything", "key_file", "anything");
	CHECK(parse(psprintf("auth.x_file=%s", path)) != NULL);
	destination(psprintf("password_file=%s", path), "");
}

static void
bad_declaration(TlOption option, const char *expected)
{
	CHECK_STR(option_check(&option), expected);
}

static void
test_declarations(void)
{
	unit_test("declarations");
	for (const TlOption *option = backend; option->name != NULL; option++)
		CHECK_STR(option_check(option), NULL);
	for (const TlOption *option = core; option->name != NULL; option++)
		CHECK_STR(option_check(option), NULL);
	bad_declaration((TlOption) {""}, "option \"\" has a malformed name");
	bad_declaration((TlOption) {"a b"}, "option \"a b\" has a malformed name");
	bad_declaration((TlOption) {"1"}, "option \"1\" has a malformed name");
	bad_declaration((TlOption) {"a", 77},
					"option \"a\" is of an unknown type");
	bad_declaration((TlOption) {"a", TL_INT_OPT, 0x100},
					"option \"a\" has unknown flags");
	bad_declaration((TlOption) {"a", TL_ENUM_OPT},
					"option \"a\" has no values");
	bad_declaration((TlOption) {"a", TL_ENUM_OPT,.values = none},
					"option \"a\" has no values");
	bad_declaration((TlOption) {"a", TL_INT_OPT,.min = 2,.max = 1},
					"option \"a\" has a minimum above its maximum");
	bad_declaration((TlOption) {"a", TL_INT_OPT, TL_OPT_SECRET},
					"option \"a\" is a secret that is not a string, or has a default");
	bad_declaration((TlOption) {"a", TL_STRING_OPT, TL_OPT_SECRET, "x"},
					"option \"a\" is a secret that is not a string, or has a default");
	bad_declaration((TlOption) {"a", TL_INT_OPT, 0, "5", 1, 4},
					"option \"a\" has an invalid default");
}

static void
test_closest(void)
{
	static const char *const names[] = {"postgres", "clickhouse", "null"};

	unit_test("closest");
	CHECK_STR(closest_match("postgre", names, 3), "postgres");
	CHECK_STR(closest_match("postgresql", names, 3), "postgres");
	CHECK_STR(closest_match("clikhuose", names, 3), "clickhouse");
	CHECK_STR(closest_match("nul", names, 3), "null");
	CHECK_STR(closest_match("snowflake", names, 3), NULL);
	CHECK_STR(closest_match("", names, 3), NULL);
	CHECK_STR(closest_match("x", names, 0), NULL);
}

int
main(void)
{
	if (mkdtemp(directory) == NULL)
		abort();
	test_defaults();
	test_numbers();
	test_wrong_numbers();
	test_words();
	test_unknown();
	test_prefix();
	test_required();
	test_destination();
	test_secret_files();
	test_special_files();
	test_rotation();
	test_environment();
	test_secret_rules();
	test_declarations();
	test_closest();
	if (system(psprintf("rm -rf '%s'", directory)) != 0)
		abort();
	return unit_done();
}
