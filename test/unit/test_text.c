/* sources: backends/common/tl_text.c
 *-------------------------------------------------------------------------
 *
 * test_text.c
 *	  UUIDs and addresses as text, as backends have them in common.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "../../backends/common/tl_text.h"
#include "unit.h"

static void
test_uuids(void)
{
	StringInfoData text;
	pg_uuid_t	id;

	unit_test("UUIDs");
	CHECK(tl_read_uuid("00112233-4455-6677-8899-AABBccddeeff", &id));
	initStringInfo(&text);
	tl_append_uuid(&text, &id);
	CHECK_STR(text.data, "00112233-4455-6677-8899-aabbccddeeff");
	CHECK(tl_read_uuid("00112233445566778899aabbccddeeff", &id));
	CHECK(!tl_read_uuid("00112233-4455-6677-8899-aabbccddeef", &id));
	CHECK(!tl_read_uuid("00112233-4455-6677-8899-aabbccddeeff0", &id));
	CHECK(!tl_read_uuid("0011223g-4455-6677-8899-aabbccddeeff", &id));
	CHECK(!tl_read_uuid("", &id));
}

static void
test_addresses(void)
{
	unit_test("hosts that nobody can listen in to");
	CHECK(tl_host_is_local("127.0.0.1"));
	CHECK(tl_host_is_local("localhost"));
	CHECK(tl_host_is_local("[::1]"));
	CHECK(!tl_host_is_local("127.example.com"));
	CHECK(!tl_host_is_local("10.0.0.1"));
	CHECK(!tl_host_is_local(""));

	unit_test("addresses that nobody can listen in to");
	CHECK(tl_url_is_local("http://127.0.0.1:9050"));
	CHECK(tl_url_is_local("http://localhost"));
	CHECK(tl_url_is_local("http://[::1]:1/x"));
	CHECK(!tl_url_is_local("http://[::1"));
	CHECK(!tl_url_is_local("http://[::2]:1/x"));
	CHECK(!tl_url_is_local("http://127.0.0.1.example.com"));
	CHECK(!tl_url_is_local("http://localhost.example.com"));
	CHECK(!tl_url_is_local("bigquery.googleapis.com"));
	CHECK(!tl_url_is_open("http://127.0.0.1:9050"));
	CHECK(!tl_url_is_open("https://example.com"));
	CHECK(tl_url_is_open("http://example.com"));
}

int
main(void)
{
	test_uuids();
	test_addresses();
	return unit_done();
}
