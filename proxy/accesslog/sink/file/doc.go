// Package file writes the access log to a file that is rotated: by size, by time, or
// by somebody else who renames it. Lines are appended as they are, in the order in
// which they come; a new file is begun between two batches, never inside of a record,
// and the chain of records goes on in it.
//
// Old files stay beside the file as NAME-TIME, are compressed one at a time and at low
// cost, and are removed by number and age, if the configuration says so. Several
// processes may write to one file, as they do while one takes over from another: a
// file that any of them has open is neither compressed nor removed.
//
// Whatever happens to the process between two steps, no record is lost: a step makes
// a file under another name and renames it once it is whole and synced.
package file
