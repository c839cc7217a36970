#!/bin/sh
# What an operator of Vault runs once, with VAULT_ADDR and VAULT_TOKEN set, and with
# the password of database.sql in VAULT_DB_PASSWORD.
#
#   DB_ADDRESS       host:port of PostgreSQL as Vault reaches it (default postgres:5432)
#   DB_SSLMODE       how Vault speaks to it (default verify-full; disable on loopback)
#   DEFAULT_TTL      how long credentials live, and by how much each renewal
#                    prolongs them (default 1h)
#   MAX_TTL          the end of one set of credentials, however often it was renewed
#                    (default 24h): this is how often the application changes its user
set -eu
: "${DB_ADDRESS:=postgres:5432}" "${DB_SSLMODE:=verify-full}" "${DEFAULT_TTL:=1h}" "${MAX_TTL:=24h}" "${VAULT_DB_PASSWORD:?}"

# It may be there, if this script was run before and stopped at an error.
vault read sys/mounts/postgresql >/dev/null 2>&1 || vault secrets enable -path=postgresql database

# The address has {{username}} and {{password}} in it, and they are keys of their own:
# with the credentials written into the address Vault cannot rotate them.
vault write postgresql/config/notes - <<EOF
{
  "plugin_name": "postgresql-database-plugin",
  "connection_url": "postgresql://{{username}}:{{password}}@$DB_ADDRESS/notes_webapp?sslmode=$DB_SSLMODE",
  "username": "vault",
  "password": "$VAULT_DB_PASSWORD",
  "password_authentication": "scram-sha-256",
  "allowed_roles": "notes"
}
EOF

# From here on nobody but Vault knows the password of its account.
vault write -f postgresql/rotate-root/notes

# VALID UNTIL moves with each renewal. PostgreSQL itself refuses the password of a
# user whose time is over, should Vault not be there to drop the user.
vault write postgresql/roles/notes - <<EOF
{
  "db_name": "notes",
  "creation_statements": [
    "CREATE ROLE \"{{name}}\" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}' IN ROLE notes_app;"
  ],
  "revocation_statements": ["DROP ROLE IF EXISTS \"{{name}}\";"],
  "default_ttl": "$DEFAULT_TTL",
  "max_ttl": "$MAX_TTL"
}
EOF

# What the sidecar may do beside what `sallyport provision` allows it: have these
# credentials, keep them alive, and give them back. Of other leases it may do neither.
vault policy write notes-postgresql - <<EOF
path "postgresql/creds/notes" {
  capabilities = ["read"]
}
path "sys/leases/renew" {
  capabilities       = ["update"]
  allowed_parameters = { "lease_id" = ["postgresql/creds/notes/*"] }
}
path "sys/leases/revoke" {
  capabilities       = ["update"]
  allowed_parameters = { "lease_id" = ["postgresql/creds/notes/*"], "sync" = [] }
}
EOF
