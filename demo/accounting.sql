\pset tuples_only off
\pset format aligned
\pset footer off
SELECT target, ledger, forwarded, in_flight, pending, dead, difference
FROM token_ledger.accounting;
