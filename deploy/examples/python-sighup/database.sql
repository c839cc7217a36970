-- What PostgreSQL's administrator runs once, in the database reports (`createdb
-- reports`, then `psql reports -f database.sql`). @PASSWORD@ stands for a first
-- password, which `rotate-root` replaces and nobody needs to remember.

CREATE TABLE reports (
  id    BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  title VARCHAR(255) NOT NULL
);

REVOKE ALL ON DATABASE reports FROM PUBLIC;
REVOKE ALL ON SCHEMA public FROM PUBLIC;

CREATE ROLE reports_app NOLOGIN;
GRANT CONNECT ON DATABASE reports TO reports_app;
GRANT USAGE ON SCHEMA public TO reports_app;
GRANT SELECT ON reports TO reports_app;

CREATE ROLE vault_reports LOGIN CREATEROLE PASSWORD '@PASSWORD@';
GRANT CONNECT ON DATABASE reports TO vault_reports;
GRANT reports_app TO vault_reports WITH ADMIN OPTION;
