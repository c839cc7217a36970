package accesslog

import (
	"encoding/binary"
	"encoding/json"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// refusal is a record of a stranger whose address has asked too often.
func refusal(address string) *Record {
	r := exampleRequest(ActionPortal, DecisionDeny, "rate_limited")
	r.Time, r.User, r.Groups, r.SessionID, r.Status, r.ClientAddress = time.Now(), "", nil, "", 429, address
	r.Fold(netip.MustParseAddr(address))
	return &r
}

// repeated is what a line says of the requests that it stands for.
type repeatedLine struct {
	Action   Action `json:"event.action"`
	Decision string `json:"sallyport.decision"`
	Reason   string `json:"event.reason"`
	Client   string `json:"client.address"`
	Count    int64  `json:"sallyport.refused.count"`
	Start    string `json:"event.start"`
	End      string `json:"event.end"`
}

func repeatedLines(t *testing.T, text []byte) (all []repeatedLine) {
	t.Helper()
	for _, line := range verify(t, text).lines {
		var one repeatedLine
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			t.Fatal(err)
		}
		if one.Action != ActionLogStart && one.Action != ActionLogEnd {
			all = append(all, one)
		}
	}
	return all
}

func TestRefusalsOfOneAddressHaveOneLineForMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{room: -1}
		l := Prepare(Config{Service: "gateway", Sinks: []Sink{NewOutput("disk", d)}})
		write := func(r *Record) {
			t.Helper()
			if err := l.Write(r); err != nil {
				t.Fatal(err)
			}
		}
		stamp := func() string { return time.Now().UTC().Format(timeFormat) }
		write(refusal("192.0.2.7"))
		<-time.After(time.Second)
		from := stamp()
		for range 99 {
			write(refusal("192.0.2.7"))
		}
		write(refusal("192.0.2.8")) // has no other
		<-time.After(time.Second)
		until := stamp()
		write(refusal("192.0.2.7"))
		<-time.After(foldEvery)
		write(refusal("192.0.2.7"))
		write(refusal("192.0.2.7"))
		at := stamp()
		if err := l.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		one := func(client string) repeatedLine {
			return repeatedLine{ActionPortal, DecisionDeny, "rate_limited", client, 0, "", ""}
		}
		want := []repeatedLine{
			one("192.0.2.7"), one("192.0.2.8"), {ActionRepeated, DecisionDeny, "rate_limited", "192.0.2.7", 100, from, until},
			one("192.0.2.7"), {ActionRepeated, DecisionDeny, "rate_limited", "192.0.2.7", 1, at, at},
		}
		if diff := cmp.Diff(want, repeatedLines(t, d.bytes())); diff != "" {
			t.Errorf("lines (-want +got):\n%s", diff)
		}
	})
}

func TestManyAddressesShareALine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{room: -1}
		l := Prepare(Config{Service: "gateway", Sinks: []Sink{NewOutput("disk", d)}})
		const addresses = 3 * mostFolded
		for i := range uint32(addresses) {
			var raw [4]byte
			binary.BigEndian.PutUint32(raw[:], 10<<24+i)
			if err := l.Write(refusal(netip.AddrFrom4(raw).String())); err != nil {
				t.Fatal(err)
			}
		}
		<-time.After(foldEvery)
		synctest.Wait()
		lines := repeatedLines(t, d.bytes())
		last := lines[len(lines)-1]
		if len(lines) != mostFolded+1 || last.Action != ActionRepeated || last.Client != "" || last.Count != addresses-mostFolded {
			t.Errorf("%d lines, the last %+v", len(lines), last)
		}
		if err := l.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

func TestACountThatFindsNoRoomIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		l := Prepare(Config{Service: "gateway", Sinks: []Sink{g}, Buffer: smallBuffer})
		for range 5 {
			if err := l.Write(refusal("192.0.2.7")); err != nil {
				t.Fatal(err)
			}
		}
		r := full()
		for l.queue.fits(2000, ofStranger) {
			if err := l.Write(&r); err != nil {
				t.Fatal(err)
			}
		}
		for l.queue.fits(400, ofStranger) {
			small := Record{Action: ActionAccess, Decision: DecisionAllow}
			if err := l.Write(&small); err != nil {
				t.Fatal(err)
			}
		}
		<-time.After(foldEvery + time.Second)
		if err := l.Write(refusal("192.0.2.7")); err != nil {
			t.Fatal(err)
		}
		g.release()
		<-time.After(foldEvery)
		synctest.Wait()
		if err := l.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		lines := repeatedLines(t, g.bytes())
		last := lines[len(lines)-1]
		if last.Action != ActionRepeated || last.Count != 5 || l.Stats().Dropped != 0 {
			t.Errorf("the last line is %+v; %d are lost", last, l.Stats().Dropped)
		}
	})
}

// TestStrangersDoNotCloseTheDoor: however many are refused while a sink is slow, there is
// room for those who may enter, and they are let in.
func TestStrangersDoNotCloseTheDoor(t *testing.T) {
	for name, test := range map[string]struct {
		user string
		most int64 // of the buffer, in eighths
	}{"who nobody knows": {"", 4}, "who is signed in": {"mallory@example.com", 6}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGate()
				l := Prepare(Config{Service: "gateway", Sinks: []Sink{g}, Buffer: smallBuffer})
				refused := full()
				refused.Decision, refused.User = DecisionDeny, test.user
				for range 200 {
					_ = l.Write(&refused)
				}
				if used := l.Stats().Buffered; used > smallBuffer*test.most/8 || used < smallBuffer/8 {
					t.Errorf("their records have %d bytes of %d", used, smallBuffer)
				}
				if err := l.Err(); err != nil {
					t.Errorf("nobody is let in: %v", err)
				}
				let := full()
				if err := l.Write(&let); err != nil {
					t.Error(err)
				}
				g.release()
				if err := l.Close(t.Context()); err != nil {
					t.Fatal(err)
				}
				records := verify(t, g.bytes()).records(t)
				gaps := 0
				for _, r := range records {
					if r.Action == ActionLogGap {
						gaps++
					}
				}
				if gaps != 1 || l.Stats().Dropped == 0 {
					t.Errorf("%d gaps, want one; %d are lost", gaps, l.Stats().Dropped)
				}
			})
		})
	}
}
