-- What MariaDB's administrator runs once. @HOST@ and @PASSWORD@ stand for the
-- addresses that Vault connects from ('%' for any) and for a first password, which
-- `rotate-root` replaces and nobody needs to remember.

CREATE DATABASE notes_webapp CHARACTER SET utf8mb4;

CREATE TABLE notes_webapp.notes (
  id     BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  author VARCHAR(255) NOT NULL,
  text   VARCHAR(500) NOT NULL
);

-- Vault's own account, and not root: it makes and drops users, and can give them
-- what it has itself and no more, SELECT and INSERT on one database. It exists at
-- one host, so there is one password to rotate.
CREATE USER 'vault'@'@HOST@' IDENTIFIED BY '@PASSWORD@';
GRANT CREATE USER ON *.* TO 'vault'@'@HOST@';
GRANT SELECT, INSERT ON notes_webapp.* TO 'vault'@'@HOST@' WITH GRANT OPTION;
