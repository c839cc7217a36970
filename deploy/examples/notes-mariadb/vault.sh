#!/bin/sh
# What an operator of Vault runs once, with VAULT_ADDR and VAULT_TOKEN set, and with
# the password of database.sql in VAULT_DB_PASSWORD.
#
#   DB_ADDRESS       host:port of MariaDB as Vault reaches it (default mariadb:3306)
#   DEFAULT_TTL      how long credentials live, and by how much each renewal
#                    prolongs them (default 1h)
#   MAX_TTL          the end of one set of credentials, however often it was renewed
#                    (default 24h): this is how often the application changes its user
set -eu
: "${DB_ADDRESS:=mariadb:3306}" "${DEFAULT_TTL:=1h}" "${MAX_TTL:=24h}" "${VAULT_DB_PASSWORD:?}"

# It may be there, if this script was run before and stopped at an error.
vault read sys/mounts/database >/dev/null 2>&1 || vault secrets enable -path=database database

# The address has {{username}} and {{password}} in it, and they are keys of their own:
# with the credentials written into the address Vault cannot rotate them. Where the
# account's host is not '%', say so here, too; see the README.
vault write database/config/notes - <<EOF
{
  "plugin_name": "mysql-database-plugin",
  "connection_url": "{{username}}:{{password}}@tcp($DB_ADDRESS)/",
  "username": "vault",
  "password": "$VAULT_DB_PASSWORD",
  "allowed_roles": "notes"
}
EOF

# From here on nobody but Vault knows the password of its account.
vault write -f database/rotate-root/notes

vault write database/roles/notes - <<EOF
{
  "db_name": "notes",
  "creation_statements": [
    "CREATE USER '{{name}}'@'%' IDENTIFIED BY '{{password}}';",
    "GRANT SELECT, INSERT ON notes_webapp.* TO '{{name}}'@'%';"
  ],
  "revocation_statements": ["DROP USER IF EXISTS '{{name}}'@'%';"],
  "default_ttl": "$DEFAULT_TTL",
  "max_ttl": "$MAX_TTL"
}
EOF

# What the sidecar may do beside what `sallyport provision` allows it: have these
# credentials, keep them alive, and give them back. Of other leases it may do neither.
vault policy write notes-database - <<EOF
path "database/creds/notes" {
  capabilities = ["read"]
}
path "sys/leases/renew" {
  capabilities       = ["update"]
  allowed_parameters = { "lease_id" = ["database/creds/notes/*"] }
}
path "sys/leases/revoke" {
  capabilities       = ["update"]
  allowed_parameters = { "lease_id" = ["database/creds/notes/*"], "sync" = [] }
}
EOF
