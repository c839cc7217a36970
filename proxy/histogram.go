package proxy

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Bounds of the classic buckets, in seconds: of what a tool's answer takes, and of what
// a person takes to sign in. 1 is the bound that the alarms count by.
var (
	requestBuckets = []float64{.0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}
	personBuckets  = []float64{1, 2, 5, 10, 20, 30, 60, 120, 300, 600}
)

// nativeBuckets is how many buckets a native histogram may have: what clients can make
// it hold is bounded. They are enough for a thousandth to a thousand seconds at 10 %.
const nativeBuckets = 160

// Histogram returns the options of a histogram of durations in seconds that has both
// kinds of buckets: a Prometheus that asks for native histograms gets buckets which are
// 10 % apart, another one those given. With too many native buckets, the histogram starts
// anew if it is an hour old, and is made coarser if it is younger.
func Histogram(name, help string, buckets []float64) prometheus.HistogramOpts {
	return prometheus.HistogramOpts{
		Name: name, Help: help, Buckets: buckets,
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: nativeBuckets, NativeHistogramMinResetDuration: time.Hour,
		NativeHistogramZeroThreshold: 1e-6, // a microsecond: less is nothing
	}
}
