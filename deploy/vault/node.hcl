# One node of the Vault cluster. `./config` writes a copy of this file for each
# node, with the words between @ signs filled in, to cluster/NODE/vault.hcl; the
# units of systemd, compose.yml and stack.yml all run those copies.

# The data of all secrets lives on the nodes themselves, copied from the active
# one to the others (Raft). Two of three nodes must be up.
storage "raft" {
  path    = "@STATE@/@NODE@"
  node_id = "@NODE@"

  # Timeouts for machines of their own: another node takes over within seconds.
  performance_multiplier = 1

  # A fresh node asks these until one of them lets it in; a node that is in the
  # cluster already asks nobody. It proves itself by being unsealed with the same
  # keys. Its own address among them does no harm.
@RETRY_JOIN@
}

listener "tcp" {
  address         = "@LISTEN@:@PORT@"
  cluster_address = "@LISTEN@:@CLUSTER_PORT@"

  # Read again on SIGHUP: a new certificate needs no restart and no unsealing.
  tls_cert_file   = "@ETC@/@NODE@/tls.pem"
  tls_key_file    = "@ETC@/@NODE@/tls.key"
  tls_min_version = "tls12"
}

# Where clients and the other nodes find this one. What passes between the nodes
# is encrypted with keys that Vault makes itself.
api_addr     = "https://@HOST@:@PORT@"
cluster_addr = "https://@HOST@:@CLUSTER_PORT@"

# Vault advises against locking memory with this storage: it would pull the whole
# database, which is mapped, into memory. Keep the process from swapping instead,
# as vault@.service, compose.yml and stack.yml do. So it needs no IPC_LOCK.
disable_mlock = true

# No pages for browsers: one thing less that listens.
ui = false
