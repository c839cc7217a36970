package proxy

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestAdmissionIsSharedFairly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAdmission(3, 2, time.Second)
		enter := func(address string) func() {
			t.Helper()
			leave, err := a.enter(t.Context(), address)
			if err != nil {
				t.Fatalf("no place for %s: %v", address, err)
			}
			return leave
		}
		first, second := enter("192.0.2.1"), enter("192.0.2.1")
		refused := func(ctx context.Context, address, want string) {
			t.Helper()
			_, err := a.enter(ctx, address)
			if err == nil || err.Error() != want {
				t.Errorf("%s: %v, want %q", address, err, want)
			}
		}
		refused(t.Context(), "192.0.2.1", "busy: 2 of 192.0.2.1 are in hand, which is its share")
		third := enter("192.0.2.2")
		before := time.Now()
		refused(t.Context(), "192.0.2.3", "busy: all 3 places were taken for 1s")
		if time.Since(before) != time.Second {
			t.Errorf("a fourth waited %v", time.Since(before))
		}
		go func() {
			<-time.After(time.Second / 2)
			first()
		}()
		fourth := enter("192.0.2.3") // waits for the first to leave
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		refused(ctx, "192.0.2.4", "busy: waiting for a place: context canceled")
		second()
		third()
		fourth()
		if len(a.inside) != 0 || len(a.places) != 0 {
			t.Errorf("left behind: %v, %d places", a.inside, len(a.places))
		}
	})
}

func TestOneStrangerIsOneNetwork(t *testing.T) {
	same := [][2]string{
		{"192.0.2.1", "::ffff:192.0.2.1"},
		{"2001:db8::1", "2001:db8::ffff:1"},
		{"fe80::1%eth0", "fe80::2%eth1"},
		{"", "@"},
	}
	for _, pair := range same {
		if networkOf(pair[0]) != networkOf(pair[1]) {
			t.Errorf("%q and %q count as two", pair[0], pair[1])
		}
	}
	for _, pair := range [][2]string{{"192.0.2.1", "192.0.2.2"}, {"2001:db8::1", "2001:db8:0:1::1"}} {
		if networkOf(pair[0]) == networkOf(pair[1]) {
			t.Errorf("%q and %q count as one", pair[0], pair[1])
		}
	}
}

func TestNormalHost(t *testing.T) {
	tests := []struct {
		give, want string
		ok         bool
	}{
		{"a.example", "a.example", true},
		{"A.Example.", "a.example", true},
		{"a.example.:8443", "a.example", true},
		{"a.example..", "a.example.", true}, // no route has such a name
		{"a.example:", "a.example:", false},
		{"a.example:evil.com", "a.example:evil.com", false},
		{"a.example:1/evil", "a.example:1/evil", false},
		{"a.example:123456", "a.example:123456", false},
		{"a.example:1:2", "a.example:1:2", false},
		{"[::1]:443", "[::1]:443", false},
		{"", "", true},
	}
	for _, test := range tests {
		if got, ok := normalHost(test.give); got != test.want || ok != test.ok {
			t.Errorf("normalHost(%q) = %q, %v, want %q, %v", test.give, got, ok, test.want, test.ok)
		}
	}
}
