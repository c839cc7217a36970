// Package logfile reads lines of the access log back: from plain and compressed
// files and from standard input, several in a row, and what they say, in parts or
// as a whole. What a line means is for others to say: package verify judges the
// chain, query and report look for people.
//
// Hostile input: a file is what whoever could write to it made of it. Lines may be
// torn, binary, or without end; the compression may break off. None of it ends the
// reading, none of it takes more memory than one line may have (MaxLine), and each
// line knows its place.
//
// Output: lines in the order in which they stand, with file, line number and byte
// offset; of a line the sealed record (instance, sequence number, hash of the one
// before) and single members, without parsing the rest.
package logfile
