package vaultpki

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestFailedOrdersSlowDown asks for a name every ten seconds for two days, as a
// follower of the configuration does.
func TestFailedOrdersSlowDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var failed failedOrders
		cause := &Error{Reason: ReasonDenied, Op: "ordering a certificate for a.example.com from", Where: "https://acme.example/", Err: errors.New("refused"), Hint: "mend it"}
		begin, last, orders := time.Now(), time.Time{}, 0
		for time.Since(begin) < 48*time.Hour {
			err := failed.check("a.example.com")
			if err == nil {
				orders++
				last = time.Now()
				failed.note("a.example.com", cause)
			} else if ReasonOf(err) != ReasonDenied || !strings.Contains(err.Error(), "refused; it is not tried again before 2000-01-0") {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Second) //nolint:forbidigo // the bubble's clock
		}
		if orders < 30 || orders > 110 || time.Since(last) > 2*time.Hour {
			t.Errorf("%d orders in two days, the last one %s ago; expected about one in an hour", orders, time.Since(last))
		}
		if err := failed.check("b.example.com"); err != nil {
			t.Errorf("another name: %v", err)
		}
		failed.note("b.example.com", cause)
		failed.note("b.example.com", nil)
		failed.forget([]string{"b.example.com"})
		for _, name := range []string{"a.example.com", "b.example.com"} {
			if err := failed.check(name); err != nil {
				t.Errorf("after what should have cleared it: %v", err)
			}
		}
	})
}
