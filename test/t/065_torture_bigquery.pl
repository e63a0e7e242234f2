# A bounded part of test/torture/run --store bigquery: its double is killed,
# answers with errors, or does not answer, in modes committed and pending, while
# lanes and servers are killed.
use strict;
use warnings FATAL => 'all';

use BigQueryPeer;
use BoundedTorture;

bounded_torture('bigquery', bigquery_hindrance());
