BEGIN;
INSERT INTO token_ledger.token_ledger_events (provider, model)
	VALUES ('nobody', 'rolled-back');
ROLLBACK;
