package proxy

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"
)

func TestRatesOfAddressesAreTheirOwn(t *testing.T) {
	r, now := newRates(10), time.Now()
	alice, bob := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	for i := range 100 { // ten seconds' worth at once
		if wait := r.take(alice, now); wait != 0 {
			t.Fatalf("request %d waits %s", i, wait)
		}
	}
	if wait := r.take(alice, now); wait != 100*time.Millisecond {
		t.Errorf("one too many waits %s, want 100ms", wait)
	}
	if wait := r.take(bob, now); wait != 0 {
		t.Errorf("another address waits %s", wait)
	}
	if wait := r.take(alice, now.Add(100*time.Millisecond)); wait != 0 {
		t.Errorf("after a tenth of a second it waits %s", wait)
	}
	r.allow(1000)
	if wait := r.take(alice, now.Add(100*time.Millisecond)); wait > time.Millisecond {
		t.Errorf("with another rate it waits %s", wait)
	}
}

func TestRatesAreBoundedInMemory(t *testing.T) {
	r, now := newRates(10), time.Now()
	var refused int
	for i := range uint32(1_000_000) { // as somebody with a /44 may do
		var bytes [16]byte
		binary.BigEndian.PutUint32(bytes[4:], i)
		if r.take(netip.AddrFrom16(bytes), now) != 0 {
			refused++
		}
	}
	var kept int
	for i := range r.shards {
		kept += len(r.shards[i].full)
	}
	if kept > rateShards*ratePerShard || refused < 900_000 {
		t.Errorf("%d addresses are kept, and of a million %d were refused", kept, refused)
	}
	late := now.Add(2 * time.Second)
	if wait := r.take(netip.MustParseAddr("192.0.2.1"), late); wait != 0 {
		t.Errorf("two seconds later a new address waits %s", wait)
	}
}

func BenchmarkRates(b *testing.B) {
	r, now, address := newRates(1000), time.Now(), netip.MustParseAddr("192.0.2.1")
	b.ReportAllocs()
	for b.Loop() {
		r.take(address, now)
	}
}
