SELECT model, count(*), sum(total_tokens), coalesce(sum(cost_usd), CAST(0 AS numeric(18, 8)))
FROM :events GROUP BY model ORDER BY model COLLATE "C";
