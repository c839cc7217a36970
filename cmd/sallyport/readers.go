package main

import (
	"os"
	"os/signal"
	"syscall"
)

// outlastReaders has a daemon live on when nobody reads what it writes any more: that its
// access log cannot be written is for the log to say, and for nobody to be let in, and not for
// a signal to end it for, without a word and in no order. What it starts has the signal as
// ever.
func outlastReaders() { signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) }
