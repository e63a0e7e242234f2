# An error of the server's own makes a lane forget what it has heard from the
# store and believe its row.  The batch comes back as one that may be there;
# then the backend's state must not be ahead of it.
use strict;
use warnings FATAL => 'all';

use FindBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib "$FindBin::RealBin/../conformance/lib";
use ConformanceJournal;
use TokenLedger;

my $node = ledger_node('main', conf => <<'EOC');
shared_preload_libraries = 'tokenledger, faulty'
faulty.inner = 'postgres'
tokenledger.flush_interval = 20ms
tokenledger.poll_interval = 200ms
tokenledger.retry_min = 20ms
tokenledger.retry_max = 200ms
EOC
my $journal = $node->basedir . '/journal';

create_store($node, 'store');
my $url = store_url($node, 'store',
	faulty_state => 'on',
	faulty_journal => $journal);
$url =~ s{^postgresql://}{tokenledger+faulty-postgres://};
set_targets($node, "main=$url");
insert_events($node, 'app', 3);
forwarded_ok($node, 'app', 'main', $node, 'store');

# The first settlement of the next range fails.  NB: a sequence goes on where
# the transaction is rolled back.
$node->safe_psql('app', <<'EOC');
CREATE SEQUENCE settlements;
GRANT USAGE ON SEQUENCE settlements TO PUBLIC;
CREATE FUNCTION refuse_first() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF OLD.part_token IS NOT NULL AND NEW.part_token IS NULL
		AND nextval('public.settlements') = 1
	THEN
		RAISE EXCEPTION 'the settlement fails';
	END IF;
	RETURN NEW;
END $$;
CREATE TRIGGER refuse_first BEFORE UPDATE ON token_ledger.lane
	FOR EACH ROW EXECUTE FUNCTION refuse_first();
EOC
insert_events($node, 'app', 3, first => 4);
forwarded_ok($node, 'app', 'main', $node, 'store',
	name => 'the batch is sent again and settled');
identity_ok($node, 'app');

my @sends = grep { $_->{what} eq 'begin' && $_->{callback} eq 'send' }
  journal_read($journal);
is(scalar @sends, 3, 'it was sent twice');
is($sends[1]{token}, $sends[2]{token}, 'under the same token');
is($sends[1]{pid}, $sends[2]{pid}, 'by the same process');
is($sends[1]{state}, 'set1', 'the state of the first batch is there');
is($sends[2]{state}, 'set1', 'and again, not that of the forgotten outcome');

done_testing();
