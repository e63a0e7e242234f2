/*
 * sources: src/target_url.c
 * flags: -DFRONTEND
 *
 * test_target_url.c
 *	  The grammar of tokenledger.targets, as a table of texts.
 *
 * A parsed list is written out as one line for each entry:
 *
 *		database/name scheme user hosts path option=value ...
 *
 * with "-" for what is absent, or as "name ! error".  Every text of the tables
 * that contains "s3cr3t" must not show it again in any field of an entry.
 */
#include "postgres_fe.h"

#include "lib/stringinfo.h"
#include "target_url.h"
#include "unit.h"

#define SECRET	"s3cr3t"

typedef struct Case
{
	const char *text;
	const char *expected;
} Case;

static const Case well_formed[] = {
	{"", ""},
	{" \t\n\r\f\v", ""},
	{"a=postgres://h", "a postgres - h -"},
	{"  a=postgres://h\n\tb=clickhouse://i  ",
	"a postgres - h -|b clickhouse - i -"},
	{"w=tokenledger+clickhouse://ledger@ch:8443/llm?password_file=/etc/ch.pw",
	"w clickhouse ledger ch:8443 llm password_file=/etc/ch.pw"},
	{"m=postgresql://ledger@replica/llm?sslmode=verify-full",
	"m postgresql ledger replica llm sslmode=verify-full"},

	/* names */
	{"_=null://", "_ null - - -"},
	{"A-b_9=null://", "A-b_9 null - - -"},
	{"a23456789012345678901234567890123456789012345678901234567890123=null://",
	"a23456789012345678901234567890123456789012345678901234567890123 null - - -"},
	{"db/a=null://", "db/a null - - -"},
	{"My-db.1:x/a=null://", "My-db.1:x/a null - - -"},
	{"a%20b%2Fc%3d/n=null://", "a b/c=/n null - - -"},
	{"d\xc3\xa9/a=null://", "d\xc3\xa9/a null - - -"},
	{"d%E9/a=null://", "d\xe9/a null - - -"},
	{"x/a=null:// y/a=null://", "x/a null - - -|y/a null - - -"},
	{"a=null:// A=null://", "a null - - -|A null - - -"},

	/* schemes */
	{"a=NULL://", "a null - - -"},
	{"a=TokenLedger+ClickHouse-Kafka://h", "a clickhouse-kafka - h -"},
	{"a=my_store2://h", "a my_store2 - h -"},
	{"a=a2345678901234567890123456789012://h",
	"a a2345678901234567890123456789012 - h -"},

	/* users */
	{"a=x://u@h", "a x u h -"},
	{"a=x://u@/db", "a x u - db"},
	{"a=x://u%40v@h", "a x u@v h -"},
	{"a=x://j%C3%BCrgen@h", "a x j\xc3\xbcrgen h -"},

	/* hosts */
	{"a=x://h:5432", "a x - h:5432 -"},
	{"a=x://h:", "a x - h -"},
	{"a=x://h:00080", "a x - h:80 -"},
	{"a=x://h:1,i:65535,j", "a x - h:1,i:65535,j -"},
	{"a=x://DB2.Example.COM:9", "a x - db2.example.com:9 -"},
	{"a=x://10.0.0.1,10.0.0.2:7/d", "a x - 10.0.0.1,10.0.0.2:7 d"},
	{"a=x://[::1]", "a x - [::1] -"},
	{"a=x://u@[2001:DB8::1]:5432,[::2]:1,h/d",
	"a x u [2001:db8::1]:5432,[::2]:1,h d"},
	{"a=x://[::ffff:10.0.0.1]:1/", "a x - [::ffff:10.0.0.1]:1 -"},
	{"a=x://[fe80::1%25eth0]:1", "a x - [fe80::1%eth0]:1 -"},
	{"a=x://%2Frun%2FpostgreSQL:5433/d", "a x - /run/postgreSQL:5433 d"},
	{"a=x://my-org_acc.eu-1", "a x - my-org_acc.eu-1 -"},
	{"a=x://%68ost", "a x - host -"},

	/* paths */
	{"a=x:///db", "a x - - db"},
	{"a=x://h/", "a x - h -"},
	{"a=x://h/a/b/c", "a x - h a/b/c"},
	{"a=x://h//a", "a x - h /a"},
	{"a=x://h/a%20b%2Fc%3F", "a x - h a b/c?"},
	{"a=x://h/a:b", "a x - h a:b"},
	{"a=x://h/a@b", "a x - h a@b"},
	{"a=x://h/\xe6\x97\xa5\xe6\x9c\xac", "a x - h \xe6\x97\xa5\xe6\x9c\xac"},

	/* options */
	{"a=x://h?", "a x - h -"},
	{"a=x://h/d?", "a x - h d"},
	{"a=x://h?a=b&c=d", "a x - h - a=b c=d"},
	{"a=x://h?&a=b&&c=d&", "a x - h - a=b c=d"},
	{"a=x://?a=", "a x - - - a="},
	{"a=x://h?a==b=", "a x - h - a==b="},
	{"a=x://h?a=b+c%2B%26%3d%25", "a x - h - a=b+c+&=%"},
	{"a=x://h?a=/x/y?z", "a x - h - a=/x/y?z"},
	{"a=x://h?url=http://[::1]:80/x", "a x - h - url=http://[::1]:80/x"},
	{"a=x://h?rdkafka.a.b-c=1", "a x - h - rdkafka.a.b-c=1"},
	{"a=x://h?%61b=1", "a x - h - ab=1"},
	{"a=x://h?a=1&A=2", "a x - h - a=1 A=2"},
	{"a=x://h?mail=me@x.org", "a x - h - mail=me@x.org"},
	{"a=x://u@h:1?mail=me@x.org", "a x u h:1 - mail=me@x.org"},
	{"a=x://h?a=\xc3\xa9%C3%A9", "a x - h - a=\xc3\xa9\xc3\xa9"},
	{NULL}
};

#define BAD_NAME \
	"the target's name before \"=\" is not a letter or underscore followed by at most 62 letters, digits, underscores and hyphens"
#define BAD_SCHEME \
	"the URL's scheme is not a letter followed by at most 31 letters, digits, underscores and hyphens"
#define BAD_START	"the entry does not begin with \"name=\""
#define BAD_PORT	"a port of the URL is not a number from 1 to 65535"
#define BAD_HOST	"a host of the URL has a character that is not allowed"
#define BAD_ADDRESS	\
	"the URL has brackets around something that is not an IPv6 address"
#define PASSWORD	"the URL holds a password"
#define PASSWORD_MAYBE	"the URL seems to hold a password"

static const Case malformed[] = {
	/* no name, no URL */
	{"postgres://h/d", "#1 ! " BAD_START},
	{"postgres://h/d?a=b", "#1 ! " BAD_START},
	{"rubbish", "#1 ! " BAD_START},
	{"=postgres://h", "#1 ! " BAD_NAME},
	{"=", "#1 ! the entry has nothing after \"=\""},
	{"a=", "#1 ! the entry has nothing after \"=\""},
	{"a=rubbish", "#1 ! the entry has no \"scheme://\" after \"=\""},
	{"a=postgres:/h", "#1 ! the entry has no \"scheme://\" after \"=\""},
	{"a= postgres://h",
	"#1 ! the entry has nothing after \"=\"|#2 ! " BAD_START},

	/* names */
	{"9a=null://", "#1 ! " BAD_NAME},
	{"-a=null://", "#1 ! " BAD_NAME},
	{"a.b=null://", "#1 ! " BAD_NAME},
	{"#1=null://", "#1 ! " BAD_NAME},
	{"\xc3\xa9=null://", "#1 ! " BAD_NAME},
	{"a234567890123456789012345678901234567890123456789012345678901234=null://",
	"#1 ! " BAD_NAME},
	{"d/=null://", "#1 ! " BAD_NAME},
	{"d/e/a=null://", "#1 ! " BAD_NAME},
	{"/a=null://", "#1 ! the database's name before \"/\" is empty"},
	{"d%zz/a=null://",
	"#1 ! the database's name has a \"%\" that two hexadecimal digits do not follow"},
	{"d%00/a=null://",
	"#1 ! the database's name contains a control character"},
	{"a234567890123456789012345678901234567890123456789012345678901234/a=null://",
	"#1 ! the database's name is longer than 63 bytes"},

	/* taken names */
	{"a=x://h a=x://i", "a x - h -|#2 ! entry 2 repeats the target name \"a\""},
	{"a=x://h a=x://i a=x://j",
		"a x - h -|#2 ! entry 2 repeats the target name \"a\""
	"|#3 ! entry 3 repeats the target name \"a\""},
	{"a=x://h d/a=x://i",
	"a x - h -|d/#2 ! entry 2 repeats the target name \"a\""},
	{"d/a=x://h e/a=x://i a=x://j",
		"d/a x - h -|e/a x - i -"
	"|#3 ! entry 3 repeats the target name \"a\""},
	{"a=y+x://h a=x://i",
		"a ! the URL's scheme has a \"+\" that does not follow \"tokenledger\""
	"|#2 ! entry 2 repeats the target name \"a\""},

	/* schemes */
	{"a=://h", "a ! " BAD_SCHEME},
	{"a=1x://h", "a ! " BAD_SCHEME},
	{"a=../x://h", "a ! " BAD_SCHEME},
	{"a=a/b://h", "a ! " BAD_SCHEME},
	{"a=a.b://h", "a ! " BAD_SCHEME},
	{"a=a23456789012345678901234567890123://h", "a ! " BAD_SCHEME},
	{"a=tokenledger://h", "a ! the URL does not name a backend"},
	{"a=tokenledger+://h", "a ! the URL does not name a backend"},
	{"a=postgresql+asyncpg://h",
	"a ! the URL's scheme has a \"+\" that does not follow \"tokenledger\""},
	{"a=tokenledger+a+b://h",
	"a ! the URL's scheme has a \"+\" that does not follow \"tokenledger\""},

	/* passwords */
	{"a=x://u:s3cr3t@h/d", "a ! " PASSWORD},
	{"a=x://:s3cr3t@h/d", "a ! " PASSWORD},
	{"a=x://u:@h", "a ! " PASSWORD},
	{"a=x://u%3As3cr3t@h", "a ! " PASSWORD},
	{"a=x://u%zz:s3cr3t@h", "a ! " PASSWORD},
	{"a=x://u:s3cr3t%@h", "a ! " PASSWORD},
	{"a=x://u:s3cr3t@p@h", "a ! " PASSWORD},
	{"a=x://u:p@s3cr3t@h", "a ! " PASSWORD},
	{"a=x://u:p@s3cr3t/x@h", "a ! " PASSWORD},
	{"a=x://u:p@h,v:s3cr3t@i", "a ! " PASSWORD},
	{"a=x://u:1/s3cr3t@h", "a ! " PASSWORD_MAYBE},
	{"a=x://u:s3cr3t/1@h", "a ! " PASSWORD_MAYBE},
	{"a=x://u:1?s3cr3t@h", "a ! " PASSWORD_MAYBE},
	{"a=x://u:1?s3cr3t=s3cr3t@h", "a ! " PASSWORD_MAYBE},
	{"a=x://u:1?b=s3cr3t@h/d?c=d", "a ! " PASSWORD_MAYBE},
	{"a=x://u:1#s3cr3t@h", "a ! " PASSWORD_MAYBE},
	{"a=x://u:s3cr3t", "a ! " BAD_PORT},
	{"a=x://u:s3cr3t:1", "a ! a host of the URL has more than one \":\""},
	{"a=x://u:my s3cr3t@h/d", "a ! " BAD_PORT "|#2 ! " BAD_START},
	{"a=x://u:my s3cr3t=b@h/d",
	"a ! " BAD_PORT "|#2 ! the entry has no \"scheme://\" after \"=\""},
	{"a=x://u:my s3cr3t=", "a ! " BAD_PORT
	"|#2 ! the entry has nothing after \"=\""},
	{"x://u:s3cr3t@h/d?a=b", "#1 ! " BAD_START},
	{"u:s3cr3t=x://h", "#1 ! " BAD_NAME},
	{"a=x://u@h/s3cr3t#x", "a ! the URL has a fragment (\"#\")"},
	{"a=x://u@h?s3cr3t", "a ! option 1 of the URL has no \"=\""},
	{"a=x://u@h?a=1&s3cr3t%zz=2",
	"a ! the name of an option has a \"%\" that two hexadecimal digits do not follow"},
	{"a=x://u@h?a=s3cr3t%zz",
	"a ! the value of option \"a\" has a \"%\" that two hexadecimal digits do not follow"},
	{"a=x://h a=x://h?password=s3cr3t",
	"a x - h -|#2 ! entry 2 repeats the target name \"a\""},

	/* users, hosts, ports */
	{"a=x://@h", "a ! the user before \"@\" is empty"},
	{"a=x://u@v@h", "a ! the URL has more than one \"@\" before the path"},
	{"a=x://u%0A@h", "a ! the user contains a control character"},
	{"a=x://u%ff@h", "a ! the user is not valid UTF-8"},
	{"a=x://h,", "a ! a host of the URL is empty"},
	{"a=x://h,,i", "a ! a host of the URL is empty"},
	{"a=x://:5432", "a ! a host of the URL is empty"},
	{"a=x://h:0", "a ! " BAD_PORT},
	{"a=x://h:65536", "a ! " BAD_PORT},
	{"a=x://h:-1", "a ! " BAD_PORT},
	{"a=x://h:1x", "a ! " BAD_PORT},
	{"a=x://h:100000", "a ! " BAD_PORT},
	{"a=x://::1", "a ! a host of the URL has more than one \":\""},
	{"a=x://[::1", "a ! a \"[\" of the URL has no \"]\""},
	{"a=x://[::g]", "a ! " BAD_ADDRESS},
	{"a=x://[]", "a ! " BAD_ADDRESS},
	{"a=x://[h]", "a ! " BAD_ADDRESS},
	{"a=x://[::1%25]", "a ! " BAD_ADDRESS},
	{"a=x://[::1%25a b]:1", "a ! a \"[\" of the URL has no \"]\"|#2 ! " BAD_START},
	{"a=x://[::1]5", "a ! \"]\" is not followed by \":\", \",\" or \"/\""},
	{"a=x://[::1]:x", "a ! " BAD_PORT},
	{"a=x://h%2Ci", "a ! " BAD_HOST},
	{"a=x://h%3A1", "a ! " BAD_HOST},
	{"a=x://a/b,c:d@e", "a x - a b,c:d@e"},
	{"a=x://h*", "a ! " BAD_HOST},
	{"a=x://h\xc3\xa9", "a ! " BAD_HOST},
	{"a=x://h%00", "a ! the host contains a control character"},

	/* paths and options */
	{"a=x://h/%7F", "a ! the path contains a control character"},
	{"a=x://h/%4", "a ! the path has a \"%\" that two hexadecimal digits do not follow"},
	{"a=x://h/%", "a ! the path has a \"%\" that two hexadecimal digits do not follow"},
	{"a=x://h/\xe9", "a ! the path is not valid UTF-8"},
	{"a=x://h/%C0%80", "a ! the path is not valid UTF-8"},
	{"a=x://h/%ED%A0%80", "a ! the path is not valid UTF-8"},
	{"a=x://h?a", "a ! option 1 of the URL has no \"=\""},
	{"a=x://h?b=1&a", "a ! option 2 of the URL has no \"=\""},
	{"a=x://h?=1", "a ! option 1 of the URL has a malformed name"},
	{"a=x://h?a b=1",
	"a ! option 1 of the URL has no \"=\"|#2 ! the entry has no \"scheme://\" after \"=\""},
	{"a=x://h?a%20b=1", "a ! option 1 of the URL has a malformed name"},
	{"a=x://h?1a=1", "a ! option 1 of the URL has a malformed name"},
	{"a=x://h?.a=1", "a ! option 1 of the URL has a malformed name"},
	{"a=x://h?a234567890123456789012345678901234567890123456789012345678901234=1",
	"a ! the name of an option is longer than 63 bytes"},
	{"a=x://h?a=1&b=2&a=3", "a ! option \"a\" is given more than once"},
	{"a=x://h?a=1&%61=3", "a ! option \"a\" is given more than once"},
	{"a=x://h?a=%0a", "a ! the value of option \"a\" contains a control character"},
	{"a=x://h?a=%00", "a ! the value of option \"a\" contains a control character"},
	{"a=x://h?a=%fe", "a ! the value of option \"a\" is not valid UTF-8"},
	{"a=x://h/d#f", "a ! the URL has a fragment (\"#\")"},
	{"a=x://h\x01", "#1 ! the entry contains a control character"},
	{"a=x://h\x7f", "#1 ! the entry contains a control character"},

	/* one entry's mistake leaves the others alone */
	{"a=x://h b=x://h:x oops c=x://i/d?e=f",
	"a x - h -|b ! " BAD_PORT "|#3 ! " BAD_START "|c x - i d e=f"},
	{"d/b=x://h:x", "d/b ! " BAD_PORT},
	{NULL}
};

static void
write_word(StringInfo out, const char *word)
{
	appendStringInfo(out, " %s", word != NULL ? word : "-");
}

static void
write_entry(StringInfo out, const TargetUrl *url)
{
	if (url->database != NULL)
		appendStringInfo(out, "%s/", url->database);
	appendStringInfoString(out, url->name);
	if (url->error != NULL)
	{
		appendStringInfo(out, " ! %s", url->error);
		return;
	}
	write_word(out, url->scheme);
	write_word(out, url->user);
	write_word(out, url->hosts);
	write_word(out, url->path);
	for (UrlOption *option = url->options; option; option = option->next)
		appendStringInfo(out, " %s=%s", option->name, option->value);
}

static char *
write_list(const TargetUrl *list)
{
	StringInfoData out;

	initStringInfo(&out);
	for (const TargetUrl *url = list; url != NULL; url = url->next)
	{
		write_entry(&out, url);
		if (url->next != NULL)
			appendStringInfoChar(&out, '|');
	}
	return out.data;
}

static bool
holds_secret(const char *field)
{
	return field != NULL && strstr(field, SECRET) != NULL;
}

/* Is the secret in anything that status, a message or the log could show? */
static bool
shows_secret(const TargetUrl *url)
{
	return holds_secret(url->database) || holds_secret(url->name) ||
		holds_secret(url->scheme) || holds_secret(url->user) ||
		holds_secret(url->hosts) || holds_secret(url->path) ||
		holds_secret(url->error) || holds_secret(url->hint) ||
		url->options != NULL;
}

static void
check_table(const Case *table)
{
	for (const Case *c = table; c->text != NULL; c++)
	{
		const char *before = pstrdup(c->text);
		TargetUrl  *list = target_url_parse(c->text);

		CHECK_STR(write_list(list), c->expected);
		CHECK_STR(c->text, before);
		for (const TargetUrl *url = list; url != NULL; url = url->next)
		{
			if (url->error == NULL)
				continue;
			CHECK(!shows_secret(url));
			CHECK(url->user == NULL && url->hosts == NULL &&
				  url->path == NULL && url->options == NULL);
		}
	}
}

static void
test_hints(void)
{
	unit_test("hints");
	CHECK(strstr(target_url_parse("a=x://u:p@h")->hint, "password_file"));
	CHECK(strstr(target_url_parse("a=x://u:p/q@h")->hint, "password_file"));
	CHECK(strstr(target_url_parse("a=x://h:pw")->hint, "password_file"));
	CHECK(strstr(target_url_parse("x://h")->hint, "tokenledger.targets"));
	CHECK(strstr(target_url_parse("a=x://h/%")->hint, "%25"));
	CHECK(strstr(target_url_parse("a=x://::1")->hint, "[::1]"));
	CHECK(target_url_parse("a=x://h")->hint == NULL);
}

static void
test_access(void)
{
	TargetUrl  *url = target_url_parse("a=x://h?b=1&c= d/e=x://h");

	unit_test("access");
	CHECK(target_url_applies(url, "d"));
	CHECK(target_url_applies(url, "anything"));
	CHECK(target_url_applies(url->next, "d"));
	CHECK(!target_url_applies(url->next, "D"));
	CHECK_STR(target_url_option(url, "b"), "1");
	CHECK_STR(target_url_option(url, "c"), "");
	CHECK_STR(target_url_option(url, "d"), NULL);
}

/* prefix, n times fill, suffix */
static char *
padded(const char *prefix, const char *fill, int n, const char *suffix)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfoString(&out, prefix);
	for (int i = 0; i < n; i++)
		appendStringInfoString(&out, fill);
	appendStringInfoString(&out, suffix);
	return out.data;
}

static const char *
first_error(const char *text)
{
	return target_url_parse(text)->error;
}

static void
test_limits(void)
{
	TargetUrl  *last;
	int			count = 0;
	StringInfoData options;

	unit_test("limits");
	CHECK_STR(first_error(padded("a=x://h/", "p", 1024, "")), NULL);
	CHECK_STR(first_error(padded("a=x://h/", "p", 1025, "")),
			  "the path is longer than 1024 bytes");
	CHECK_STR(first_error(padded("a=x://h/", "%70", 1024, "")), NULL);
	CHECK_STR(first_error(padded("a=x://", "u", 255, "@h")), NULL);
	CHECK_STR(first_error(padded("a=x://", "u", 256, "@h")),
			  "the user is longer than 255 bytes");
	CHECK_STR(first_error(padded("a=x://", "h", 256, "")),
			  "the host is longer than 255 bytes");
	CHECK_STR(first_error(padded("a=x://h?b=", "v", 8182, "")), NULL);
	CHECK_STR(first_error(padded("a=x://h?b=", "v", 8183, "")),
			  "entry 1 of tokenledger.targets is longer than 8192 bytes");

	initStringInfo(&options);
	for (int i = 0; i < 100; i++)
		appendStringInfo(&options, "%so%d=", i > 0 ? "&" : "a=x://h?", i);
	CHECK_STR(first_error(options.data), NULL);
	appendStringInfoString(&options, "&more=");
	CHECK_STR(first_error(options.data), "the URL has more than 100 options");

	last = target_url_parse(padded("", "a=x:// ", 1000, ""));
	for (count = 1; last->next != NULL; last = last->next)
		count++;
	CHECK_INT(count, 1000);
	last = target_url_parse(padded("", "a=x:// ", 2000, ""));
	for (count = 1; last->next != NULL; last = last->next)
		count++;
	CHECK_INT(count, 1001);
	CHECK_STR(last->name, "#1001");
	CHECK_STR(last->error, "tokenledger.targets has more than 1000 entries");
}

/* Every prefix and every single damaged byte of a rich entry is survived. */
static void
test_damage(void)
{
	const char *rich = "d%20b/a-1=tokenledger+x://u%40@[::1%25e]:1,h:2"
		"/p%2Fq?a=%C3%A9&b.c=d";
	int			len = strlen(rich);

	unit_test("damage");
	CHECK_STR(first_error(rich), NULL);
	for (int i = 0; i < len; i++)
	{
		TargetUrl  *url = target_url_parse(pnstrdup(rich, i));

		CHECK(i == 0 || (url != NULL && url->name != NULL));
		for (int byte = 1; byte < 256; byte++)
		{
			char	   *text = pstrdup(rich);

			text[i] = (char) byte;
			url = target_url_parse(text);
			if (url == NULL || url->name == NULL ||
				(url->error != NULL && url->options != NULL))
				CHECK(!"every entry has a name, or an error and no options");
		}
	}
}

int
main(void)
{
	unit_test("well-formed");
	check_table(well_formed);
	unit_test("malformed");
	check_table(malformed);
	test_hints();
	test_access();
	test_limits();
	test_damage();
	return unit_done();
}
