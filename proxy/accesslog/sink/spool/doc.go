// Package spool keeps records on disk until a collector has taken them: a bounded
// queue of segment files that survives the end of the process at any moment.
//
// What was appended is synced and whole: a batch that the end of the process tears
// is cut off when the directory is opened again, and was never promised. What was
// acknowledged is not read again; what was read and not acknowledged is, so that a
// collector may get a batch twice and never misses one.
//
// It is no log: nobody else reads its files, and it does not know what a record says.
// Its input is trusted; the files are not, once they were written: each entry has a
// checksum, and what does not fit is left out and counted.
//
// A directory is shared by the processes of one upgrade. Each has a folder of its
// own there, and takes over what an ended one has left (see [Spool.Adopt]).
package spool
