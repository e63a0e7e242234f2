SELECT model, count(*), sum(total_tokens), coalesce(sum(cost_usd), 0)
FROM :events GROUP BY model ORDER BY model COLLATE "C";
