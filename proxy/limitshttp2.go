package proxy

import (
	"net/http"
	"time"
)

const (
	// http2Frame is the largest frame that a client may send, which is held in memory.
	http2Frame = 64 << 10
	// What a client may send before a tool has taken it: in one request, and in all of
	// a connection.
	http2StreamBuffer = 1 << 20
	http2ConnBuffer   = 4 << 20
	// A connection of which nothing was heard for so long is asked whether it is there,
	// and has so long to answer.
	http2Ping     = 30 * time.Second
	http2PingWait = 15 * time.Second
)

// http2Limits are the limits of a connection of HTTP/2. Where the listener closes those
// whose peers take nothing, and as soon, net/http need not: it would set two deadlines for
// each write, which costs a small answer some percent.
func http2Limits(cfg ServerConfig) *http.HTTP2Config {
	stall := DefaultStall
	if watching, ok := cfg.Listener.(interface{ WritesWithin() time.Duration }); ok {
		if within := watching.WritesWithin(); within > 0 && within <= stall {
			stall = 0
		}
	}
	return &http.HTTP2Config{
		MaxConcurrentStreams:          maxStreams,
		MaxReadFrameSize:              http2Frame,
		MaxReceiveBufferPerStream:     http2StreamBuffer,
		MaxReceiveBufferPerConnection: http2ConnBuffer,
		SendPingTimeout:               http2Ping,
		PingTimeout:                   http2PingWait,
		WriteByteTimeout:              stall,
		CountError:                    cfg.HTTP2Error,
	}
}
