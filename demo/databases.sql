-- The application's database and the store, each with a role that is no more
-- than it has to be.
CREATE ROLE writer LOGIN;
CREATE ROLE ledger LOGIN;
CREATE DATABASE app;
CREATE DATABASE store OWNER ledger;
