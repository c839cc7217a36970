// Package syslog sends the access log to a collector as syslog messages: RFC 5424 over
// TLS (RFC 5425) or plain TCP, counted in octets (RFC 6587).
//
// Syslog has no acknowledgement, and what the collector's kernel has taken the collector
// may never read: it counts for nothing. Instead a connection is ended in an orderly way
// every few seconds, and what was sent on it is taken once the collector has read the
// end and has closed its side. If it breaks before, everything is sent again that was
// not known to be taken: a collector may get records twice, byte for byte the same, and
// misses none. Records wait in a spool meanwhile.
//
// Hostile input: the collector may be slow, away, or not what it says; its certificate
// is verified, whatever it sends is thrown away, and every write and wait has an end.
package syslog
