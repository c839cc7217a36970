// Package verify says whether an access log is whole: that no record was edited,
// removed, inserted, moved, repeated or cut off, by the chain of hashes that runs
// through the records of each instance, by the checkpoints that Vault has signed, and
// by what instances say of each other. It is not for searching: see package logfile
// for reading, and the commands that query.
//
// What it can show, and what it cannot. Whoever can write to the file can make the
// chain anew behind what he changes. What a checkpoint covers he cannot: its hash is
// signed. So the last records, which no checkpoint covers yet, rest on the chain
// alone; the report counts them. A checkpoint that others name, or that is published
// in Vault, shows that an end was cut off.
//
// Files may be given in any order, compressed or not. They are read once, and a second
// time only where a checkpoint stands far from what it is about. Memory does not grow
// with their length: it is bounded for each instance, and for each finding.
//
// Hostile input: everything in a file. Output: a Report.
package verify
