package main

import (
	"slices"
	"testing"
)

// TestOnlyUnwrittenPagesAreGivenBack: what was written to, by whomever, would be lost.
func TestOnlyUnwrittenPagesAreGivenBack(t *testing.T) {
	const smaps = `1000-2000 r-xp 00000000 fe:00 1 /bin/a b
Private_Dirty:         0 kB
Anonymous:             0 kB
Swap:                  0 kB
VmFlags: rd ex
2000-3000 r--p 00001000 fe:00 1 /bin/a b
Private_Dirty:         4 kB
Anonymous:             4 kB
3000-4000 rw-p 00002000 fe:00 1 /bin/a b
Private_Dirty:         0 kB
Anonymous:             0 kB
4000-5000 r--p 00003000 fe:00 1 /bin/a b
Private_Dirty:         0 kB
Anonymous:             0 kB
Swap:                  4 kB
5000-6000 r--p 00004000 fe:00 2 /lib/other
Private_Dirty:         0 kB
Anonymous:             0 kB
6000-7000 r--p 00005000 fe:00 1 /bin/a b
Private_Dirty:         0 kB
7000-8000 r--p 00006000 fe:00 1 /bin/a b
Private_Dirty:         0 kB
Anonymous:             0 kB
`
	if got, want := unwritten(smaps, "/bin/a b"), (image{{0x1000, 0x2000}, {0x7000, 0x8000}}); !slices.Equal(got, want) {
		t.Errorf("%x, expected %x", got, want)
	}
	own := program()
	if len(own) == 0 {
		t.Error("nothing of this program is found to be unwritten")
	}
	own.giveBack() // and the test goes on
}
