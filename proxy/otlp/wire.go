package otlp

import (
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// The answers are small and few, so their fields are read where they lie: the messages of
// the collector's services come with a whole gRPC of their own.

// parseSuccess reads an Export…ServiceResponse: nil, or the *PartialError that it holds.
//
//	message ExportLogsServiceResponse { ExportLogsPartialSuccess partial_success = 1; }
//	message ExportLogsPartialSuccess { int64 rejected_log_records = 1; string error_message = 2; }
func parseSuccess(raw []byte) error {
	var partial *PartialError
	fields(raw, func(number protowire.Number, _ uint64, value []byte) {
		if number != 1 {
			return
		}
		partial = &PartialError{}
		fields(value, func(number protowire.Number, n uint64, value []byte) {
			switch number {
			case 1:
				partial.Rejected = int64(n) //nolint:gosec // how Protobuf has an int64
			case 2:
				partial.Message = printable(string(value))
			}
		})
	})
	if partial == nil || partial.Rejected == 0 && partial.Message == "" {
		return nil
	}
	return partial
}

// statusMessage is the text of the google.rpc.Status in the body of a failure by HTTP.
//
//	message Status { int32 code = 1; string message = 2; repeated Any details = 3; }
func statusMessage(contentType string, raw []byte) (message string) {
	if !strings.HasPrefix(contentType, "application/x-protobuf") {
		return printable(string(raw))
	}
	fields(raw, func(number protowire.Number, _ uint64, value []byte) {
		if number == 2 {
			message = printable(string(value))
		}
	})
	return message
}

// retryInfo is the kind of detail that says when to come back.
const retryInfo = "type.googleapis.com/google.rpc.RetryInfo"

// retryDelay finds the RetryInfo among the details of a google.rpc.Status.
//
//	message Any { string type_url = 1; bytes value = 2; }
//	message RetryInfo { google.protobuf.Duration retry_delay = 1; }
//	message Duration { int64 seconds = 1; int32 nanos = 2; }
func retryDelay(status []byte) (delay time.Duration, found bool) {
	fields(status, func(number protowire.Number, _ uint64, detail []byte) {
		if number != 3 {
			return
		}
		kind, content := "", []byte(nil)
		fields(detail, func(number protowire.Number, _ uint64, value []byte) {
			switch number {
			case 1:
				kind = string(value)
			case 2:
				content = value
			}
		})
		if kind == retryInfo {
			delay, found = delayOf(content), true
		}
	})
	return delay, found
}

// delayOf reads a RetryInfo. A delay beyond maxRetryAfter is that.
func delayOf(info []byte) (delay time.Duration) {
	fields(info, func(number protowire.Number, _ uint64, duration []byte) {
		if number != 1 {
			return
		}
		fields(duration, func(number protowire.Number, n uint64, _ []byte) {
			switch {
			case number == 1 && n > uint64(maxRetryAfter/time.Second):
				delay += maxRetryAfter
			case number == 1:
				delay += time.Duration(n) * time.Second //nolint:gosec // bounded above
			case number == 2 && n < uint64(time.Second):
				delay += time.Duration(n)
			}
		})
	})
	return delay
}

// fields calls see with each varint and each sequence of bytes of a message, until it ends
// or makes no sense any more. Other kinds are passed over.
func fields(raw []byte, see func(number protowire.Number, n uint64, value []byte)) {
	for len(raw) > 0 {
		number, kind, size := protowire.ConsumeTag(raw)
		if size < 0 {
			return
		}
		raw = raw[size:]
		switch kind {
		case protowire.VarintType:
			n, size := protowire.ConsumeVarint(raw)
			if size < 0 {
				return
			}
			see(number, n, nil)
			raw = raw[size:]
		case protowire.BytesType:
			value, size := protowire.ConsumeBytes(raw)
			if size < 0 {
				return
			}
			see(number, 0, value)
			raw = raw[size:]
		default:
			size := protowire.ConsumeFieldValue(number, kind, raw)
			if size < 0 {
				return
			}
			raw = raw[size:]
		}
	}
}
