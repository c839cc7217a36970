#!/bin/sh
# What an operator of Vault runs once, with VAULT_ADDR and VAULT_TOKEN set, and with
# the password of database.sql in VAULT_DB_PASSWORD. Its settings are those of
# ../notes-postgresql/vault.sh.
set -eu
: "${DB_ADDRESS:=postgres:5432}" "${DB_SSLMODE:=verify-full}" "${DEFAULT_TTL:=1h}" "${MAX_TTL:=24h}" "${VAULT_DB_PASSWORD:?}"

# It may be there, if this script was run before and stopped at an error.
vault read sys/mounts/reports-database >/dev/null 2>&1 || vault secrets enable -path=reports-database database

vault write reports-database/config/reports - <<EOF
{
  "plugin_name": "postgresql-database-plugin",
  "connection_url": "postgresql://{{username}}:{{password}}@$DB_ADDRESS/reports?sslmode=$DB_SSLMODE",
  "username": "vault_reports",
  "password": "$VAULT_DB_PASSWORD",
  "password_authentication": "scram-sha-256",
  "allowed_roles": "reports"
}
EOF

# From here on nobody but Vault knows the password of its account.
vault write -f reports-database/rotate-root/reports

vault write reports-database/roles/reports - <<EOF
{
  "db_name": "reports",
  "creation_statements": [
    "CREATE ROLE \"{{name}}\" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}' IN ROLE reports_app;"
  ],
  "revocation_statements": ["DROP ROLE IF EXISTS \"{{name}}\";"],
  "default_ttl": "$DEFAULT_TTL",
  "max_ttl": "$MAX_TTL"
}
EOF

vault policy write reports-database - <<EOF
path "reports-database/creds/reports" {
  capabilities = ["read"]
}
path "sys/leases/renew" {
  capabilities       = ["update"]
  allowed_parameters = { "lease_id" = ["reports-database/creds/reports/*"] }
}
path "sys/leases/revoke" {
  capabilities       = ["update"]
  allowed_parameters = { "lease_id" = ["reports-database/creds/reports/*"], "sync" = [] }
}
EOF
