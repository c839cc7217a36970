package accesslog

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

const (
	// loaders is how many requests end at once in a process that will be killed.
	loaders = 8
	// loadBuffer is how many bytes of their records may wait.
	loadBuffer = 256 << 10
	// loaderVariable has the test program be that process: FILE:DURABILITY:COUNTERS.
	loaderVariable = "SALLYPORT_TEST_LOADER"
)

func TestMain(m *testing.M) {
	if job := os.Getenv(loaderVariable); job != "" {
		fmt.Fprintln(os.Stderr, load(strings.Split(job, ":")))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// load writes records until it is killed. What was recorded is counted in a file that
// is mapped into memory, and so outlives it.
func load(job []string) error {
	f, err := Open(job[0])
	if err != nil {
		return err
	}
	durability, err := strconv.Atoi(job[1])
	if err != nil {
		return err
	}
	predecessor, err := LastOf(job[0])
	if err != nil {
		return err
	}
	counters, err := os.OpenFile(job[2], os.O_RDWR, 0)
	if err != nil {
		return err
	}
	shared, err := syscall.Mmap(int(counters.Fd()), 0, 8*loaders, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return err
	}
	l := Prepare(Config{Service: "gateway", Sinks: []Sink{NewOutput("file", f)}, Durability: Durability(durability), Predecessor: predecessor, Buffer: loadBuffer})
	fault := make(chan error)
	for i := range loaders {
		go func() {
			recorded := (*atomic.Uint64)(unsafe.Pointer(&shared[8*i]))
			for r := typical(); ; recorded.Add(1) {
				r.RequestID = fmt.Sprintf("%d-%d", i, recorded.Load()+1)
				if err := l.Write(&r); err != nil {
					fault <- err
				}
				runtime.Gosched()
			}
		}()
	}
	return <-fault
}

// TestKill: a process that is killed under load leaves a whole chain, of which at most
// the end is missing, and nothing at all of what was said to be synced.
func TestKill(t *testing.T) {
	for name, durability := range map[string]Durability{"none": DurabilityNone, "batch": DurabilityBatch, "fsync": DurabilityFsync} {
		t.Run(name, func(t *testing.T) {
			log := filepath.Join(t.TempDir(), "access.log")
			var recorded [][]uint64
			for range 2 {
				recorded = append(recorded, killUnderLoad(t, log, durability))
			}
			text, err := os.ReadFile(log)
			if err != nil {
				t.Fatal(err)
			}
			instances, err := readChains(text)
			if err != nil || len(instances) != len(recorded) {
				t.Fatalf("%d instances, want %d: %v", len(instances), len(recorded), err)
			}
			for i, instance := range instances {
				found := checkLoad(t, *instance)
				checkPredecessor(t, instances, i)
				lost := 0
				for loader, n := range recorded[i] {
					lost += max(0, int(n)-found[loader])
				}
				t.Logf("%d records, %d lost, torn: %d bytes", len(instance.lines), lost, len(instance.torn))
				if durability == DurabilityFsync && lost > 0 {
					t.Errorf("%d records are lost that were synced", lost)
				}
				if most := 2*loadBuffer/len(instance.lines[1]) + 2*loaders; lost > most*5/4 { // a line is longer once it is sealed
					t.Errorf("%d records of %d are lost, more than can have waited: %d", lost, len(instance.lines), most)
				}
			}
		})
	}
}

// killUnderLoad starts a process that writes records, kills it, and returns how many
// each of its loaders has recorded.
func killUnderLoad(t *testing.T, log string, durability Durability) []uint64 {
	t.Helper()
	counters := filepath.Join(t.TempDir(), "counters")
	if err := os.WriteFile(counters, make([]byte, 8*loaders), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s:%d:%s", loaderVariable, log, durability, counters))
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	recorded, least := make([]uint64, loaders), uint64(3000)
	if durability == DurabilityFsync {
		least = 500
	}
	for deadline, total := time.Now().Add(time.Minute), uint64(0); (total < least || slices.Contains(recorded, 0)) && time.Now().Before(deadline); <-time.After(time.Millisecond) {
		total = 0
		text, err := os.ReadFile(counters)
		if err != nil {
			t.Fatal(err)
		}
		for i := range recorded {
			recorded[i] = binary.NativeEndian.Uint64(text[8*i:])
			total += recorded[i]
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	text, err := os.ReadFile(counters)
	if err != nil {
		t.Fatal(err)
	}
	for i := range recorded {
		if recorded[i] = binary.NativeEndian.Uint64(text[8*i:]); recorded[i] == 0 {
			t.Fatalf("loader %d has recorded nothing", i)
		}
	}
	return recorded
}

// checkLoad demands that of each loader no record is missing but the last ones, and
// returns how many there are.
func checkLoad(t *testing.T, instance written) (found []int) {
	t.Helper()
	found = make([]int, loaders)
	for n, r := range instance.records(t) {
		if n == 0 {
			if r.Action != ActionLogStart {
				t.Errorf("the first record is %q", r.Action)
			}
			continue
		}
		var loader, number int
		if _, err := fmt.Sscanf(r.RequestID, "%d-%d", &loader, &number); err != nil {
			t.Fatal(err)
		}
		if found[loader]++; number != found[loader] {
			t.Fatalf("loader %d: record %d follows record %d", loader, number, found[loader]-1)
		}
	}
	return found
}

// checkPredecessor demands that an instance names the last record of the one before.
func checkPredecessor(t *testing.T, instances []*written, i int) {
	t.Helper()
	named := instances[i].records(t)[0].Predecessor
	if i == 0 {
		if named != nil {
			t.Errorf("the first instance names a predecessor: %v", named)
		}
		return
	}
	before := instances[i-1]
	last := before.lines[len(before.lines)-1]
	if named == nil || named.Instance != before.instance || named.Sequence != uint64(len(before.lines)) || named.Hash != HashOf([]byte(last)) {
		t.Errorf("instance %d names %+v, expected record %d of %s", i, named, len(before.lines), before.instance)
	}
}
