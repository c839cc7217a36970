# Written by the demo: a cluster of one node, storage in a folder, TLS on loopback.
storage "raft" {
  path                   = {{printf "%q" .Data}}
  node_id                = "demo"
  performance_multiplier = 1
}
listener "tcp" {
  address         = "{{loopback .VaultPort}}"
  cluster_address = "{{loopback .ClusterPort}}"
  tls_cert_file   = {{printf "%q" .VaultCert}}
  tls_key_file    = {{printf "%q" .VaultKey}}
}
api_addr      = "{{.VaultAddress}}"
cluster_addr  = "https://{{loopback .ClusterPort}}"
disable_mlock = true
ui            = false
