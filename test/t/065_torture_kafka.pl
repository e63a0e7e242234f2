# A bounded part of test/torture/run --store kafka: the broker is killed, does not
# answer, or hears of another producer with a lane's transactional id, with and
# without transactions, while lanes and servers are killed.
use strict;
use warnings FATAL => 'all';

use BoundedTorture;
use KafkaPeer;

bounded_torture('kafka', kafka_hindrance());
