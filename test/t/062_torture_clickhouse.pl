# A bounded part of test/torture/run --store clickhouse: the engine is killed,
# answers with errors, or does not answer, while lanes and servers are killed.
use strict;
use warnings FATAL => 'all';

use BoundedTorture;
use ClickHousePeer;

bounded_torture('clickhouse', clickhouse_hindrance());
