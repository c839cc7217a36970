package keep

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

const host, alice = "notes.example.com", "alice@example.com"

// put keeps a form of user's, or fails the test.
func put(t *testing.T, s *Store, user string, body []byte) (id, key string) {
	t.Helper()
	room, err := s.Reserve(host, user, int64(len(body)))
	if err != nil {
		t.Fatal(err)
	}
	if id, key, err = room.Keep(Form{Target: "/\xff?q=1", ContentType: "text/plain", Referer: "https://r/", Body: bytes.Clone(body)}); err != nil {
		t.Fatal(err)
	}
	return id, key
}

func TestFormComesBackAsItWas(t *testing.T) {
	for _, size := range []int{0, 1, 3000, MaxForm} {
		s := New(time.Now)
		body := make([]byte, size)
		_, _ = rand.Read(body)
		id, key := put(t, s, alice, body)
		want := Form{Target: "/\xff?q=1", ContentType: "text/plain", Referer: "https://r/", Size: size}
		for range 2 { // looking takes nothing away
			got, answer := s.Look(id, key, host, alice)
			got.At = time.Time{}
			if diff := cmp.Diff(want, got); answer != Here || diff != "" {
				t.Errorf("Look answers %v (-want +got):\n%s", answer, diff)
			}
		}
		if got, answer := s.Take(id, key, host, alice); answer != Here || !bytes.Equal(got.Body, body) || got.Target != want.Target {
			t.Errorf("a form of %d bytes came back with %d, answer %v", size, len(got.Body), answer)
		}
		if _, answer := s.Take(id, key, host, alice); answer != Gone {
			t.Errorf("a form is taken twice: %v", answer)
		}
		s.Settle(id, false) // nothing of it was sent
		if _, answer := s.Take(id, key, host, alice); answer != Here || !s.Has(id) {
			t.Errorf("a form that was not sent: %v", answer)
		}
		s.Settle(id, true)
		s.Settle(id, false) // changes nothing any more
		if _, answer := s.Take(id, key, host, alice); answer != Gone || s.Len() != 0 || s.Has(id) {
			t.Errorf("a form that was sent: %v, %d left", answer, s.Len())
		}
	}
}

func TestFormOpensWithItsOwnKeyAlone(t *testing.T) {
	s := New(time.Now)
	id, key := put(t, s, alice, []byte("secret"))
	otherID, otherKey := put(t, s, alice, []byte("another"))
	for name, ask := range map[string][3]string{
		"no id": {"", key, host}, "no key": {id, "", host}, "another's key": {id, otherKey, host}, "another's id": {otherID, key, host},
		"another host": {id, key, "headers.example.com"}, "a longer key": {id, key + "A", host}, "a key with a line break": {id, key + "\n", host},
	} {
		if _, answer := s.Take(ask[0], ask[1], ask[2], alice); answer != Gone {
			t.Errorf("%s: answer %v", name, answer)
		}
	}
	if _, answer := s.Look(id, key, host, "ALICE@example.com"); answer != Another {
		t.Errorf("another person: answer %v", answer)
	}
	if _, answer := s.Look(id, key, host, alice); answer != Gone || s.Len() != 1 {
		t.Errorf("what another person has asked for is still there: %v, %d kept", answer, s.Len())
	}
}

// TestNothingReadableIsHeld looks at what a dump of the memory would show.
func TestNothingReadableIsHeld(t *testing.T) {
	s := New(time.Now)
	body := []byte("password=correct+horse")
	room, err := s.Reserve(host, alice, -1)
	if err != nil {
		t.Fatal(err)
	}
	id, key, err := room.Keep(Form{Target: "/private-path", Body: body})
	if err != nil {
		t.Fatal(err)
	}
	if string(body) != strings.Repeat("\x00", len(body)) {
		t.Errorf("the body that was read is still there: %q", body)
	}
	entry := s.forms[id]
	if bytes.Contains(entry.sealed, []byte("horse")) || bytes.Contains(entry.sealed, []byte("private-path")) || strings.Contains(fmt.Sprintf("%+v", *entry), key) {
		t.Error("a kept form can be read without its key")
	}
	if _, answer := s.Take(id, key, host, alice); answer != Here {
		t.Fatal("the form does not open")
	}
	s.Settle(id, true)
	if len(bytes.Trim(entry.sealed, "\x00")) != 0 {
		t.Error("what was sent was not overwritten")
	}
}

func TestBounds(t *testing.T) {
	s := New(time.Now)
	if _, err := s.Reserve(host, alice, MaxForm+1); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a form that is too large: %v", err)
	}
	room, err := s.Reserve(host, alice, 3)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := room.Keep(Form{Body: []byte("four")}); !errors.Is(err, ErrTooLarge) || s.Len() != 0 {
		t.Errorf("more than was reserved: %v, %d kept", err, s.Len())
	}
	if room, err = s.Reserve(host, alice, 0); err != nil {
		t.Fatal(err)
	}
	if _, _, err := room.Keep(Form{Target: strings.Repeat("/", maxTexts+1)}); !errors.Is(err, ErrTooLarge) || s.Len() != 0 {
		t.Errorf("an address that is too long: %v, %d kept", err, s.Len())
	}
	for range MaxPerPerson {
		put(t, s, alice, nil)
	}
	if _, err := s.Reserve(host, alice, 0); !errors.Is(err, ErrPerson) {
		t.Errorf("one more of a person: %v", err)
	}
	for n := MaxPerPerson; n < MaxForms; n++ {
		put(t, s, fmt.Sprint("person", n), nil)
	}
	if _, err := s.Reserve(host, "bob", 0); !errors.Is(err, ErrFull) || s.Len() != MaxForms {
		t.Errorf("one more than all: %v, %d kept", err, s.Len())
	}
}

func TestBytesAreBoundedBeforeTheyAreRead(t *testing.T) {
	s := New(time.Now)
	var rooms []*Reservation
	for n := 0; ; n++ {
		room, err := s.Reserve(host, fmt.Sprint("person", n), -1)
		if err != nil {
			if !errors.Is(err, ErrFull) || n != MaxBytes/MaxForm {
				t.Errorf("after %d reservations: %v", n, err)
			}
			break
		}
		rooms = append(rooms, room)
	}
	for _, room := range rooms {
		room.Release()
		room.Release() // twice is once
	}
	if s.count != 0 || s.bytes != 0 || len(s.person) != 0 {
		t.Errorf("%d forms, %d bytes, %d persons are left", s.count, s.bytes, len(s.person))
	}
}

func TestFormsExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(time.Now)
		id, key := put(t, s, alice, []byte("x"))
		entry := s.forms[id]
		<-time.After(Life - time.Second)
		if _, answer := s.Look(id, key, host, alice); answer != Here {
			t.Errorf("before the end: %v", answer)
		}
		<-time.After(2 * time.Second)
		synctest.Wait()
		if s.Len() != 0 || len(bytes.Trim(entry.sealed, "\x00")) != 0 {
			t.Error("a form outlives its time though nobody asks")
		}
	})
}

func TestFormsExpireByTheClockOfTheStore(t *testing.T) {
	now := time.Now()
	s := New(func() time.Time { return now })
	id, key := put(t, s, alice, []byte("x"))
	now = now.Add(Life)
	if _, answer := s.Take(id, key, host, alice); answer != Gone || s.Len() != 0 {
		t.Errorf("an old form is still there: %v", answer)
	}
}

func TestOneOfManyTakesTheForm(t *testing.T) {
	s := New(time.Now)
	id, key := put(t, s, alice, []byte("x"))
	var taken atomic.Int64
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			if _, answer := s.Take(id, key, host, alice); answer == Here {
				taken.Add(1)
			}
		})
	}
	all.Wait()
	if taken.Load() != 1 {
		t.Errorf("the form was taken %d times", taken.Load())
	}
}

// FuzzTake asks with what a browser may send.
func FuzzTake(f *testing.F) {
	s := New(time.Now)
	room, err := s.Reserve(host, alice, 6)
	if err != nil {
		f.Fatal(err)
	}
	id, key, err := room.Keep(Form{Target: "/", Body: []byte("secret")})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(id, key[1:], host, alice)
	f.Add("", "", "", "")
	f.Add(id, strings.ToUpper(key), host, "bob")
	f.Fuzz(func(t *testing.T, askedID, askedKey, askedHost, user string) {
		if askedID == id && askedKey == key {
			return
		}
		if form, answer := s.Look(askedID, askedKey, askedHost, user); answer != Gone || form.Target != "" {
			t.Errorf("a form for %q, %q: %v", askedID, askedKey, answer)
		}
	})
}
