-- What PostgreSQL's administrator runs once, in the database notes_webapp (`createdb
-- notes_webapp`, then `psql notes_webapp -f database.sql`). @PASSWORD@ stands for a
-- first password, which `rotate-root` replaces and nobody needs to remember.

CREATE TABLE notes (
  id     BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  author VARCHAR(255) NOT NULL,
  text   VARCHAR(500) NOT NULL
);

REVOKE ALL ON DATABASE notes_webapp FROM PUBLIC;
REVOKE ALL ON SCHEMA public FROM PUBLIC;

-- What the application may do, as a role that nobody can sign in as. The users that
-- Vault makes are members of it: to drop one, nothing needs to be taken from it first.
CREATE ROLE notes_app NOLOGIN;
GRANT CONNECT ON DATABASE notes_webapp TO notes_app;
GRANT USAGE ON SCHEMA public TO notes_app;
GRANT SELECT, INSERT ON notes TO notes_app;

-- Vault's own account, and not a superuser: it makes and drops users, and can make
-- them members of notes_app.
CREATE ROLE vault LOGIN CREATEROLE PASSWORD '@PASSWORD@';
GRANT CONNECT ON DATABASE notes_webapp TO vault;
GRANT notes_app TO vault WITH ADMIN OPTION;
