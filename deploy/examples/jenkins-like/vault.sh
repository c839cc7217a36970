#!/bin/sh
# What an operator of Vault runs once, with VAULT_ADDR and VAULT_TOKEN set, after
# `sallyport provision apply`, which makes the KV engine at secret/.
#
#   DEPLOY_KEY     file with the SSH key, as ssh-keygen made it
#   GITHUB_TOKEN   file with the token
#   CERT_TTL       how long a certificate lives (default 72h)
set -eu
: "${DEPLOY_KEY:?}" "${GITHUB_TOKEN:?}" "${CERT_TTL:=72h}"

# From files: what stands on a command line can be read by everybody on the machine.
vault kv put -mount=secret builds/deploy-key private_key=@"$DEPLOY_KEY"
vault kv put -mount=secret builds/github token=@"$GITHUB_TOKEN"

# An authority for what the build server shows to its agents. It is not the one that
# gateways and sidecars trust: a build server must not be able to be either.
if ! vault read sys/mounts/pki-builds >/dev/null 2>&1; then
  vault secrets enable -path=pki-builds -max-lease-ttl=87600h pki
fi
if ! vault read pki-builds/cert/ca >/dev/null 2>&1; then
  vault write pki-builds/root/generate/internal common_name="Builds root" key_type=ec key_bits=256 ttl=87600h >/dev/null
fi
vault write pki-builds/roles/builds allowed_domains=builds.example.com allow_bare_domains=true \
  key_type=ec key_bits=256 ttl="$CERT_TTL" max_ttl="$CERT_TTL" no_store=true

vault policy write builds-secrets - <<EOF
path "secret/data/builds/*" {
  capabilities = ["read"]
}
path "pki-builds/issue/builds" {
  capabilities = ["update"]
}
EOF
