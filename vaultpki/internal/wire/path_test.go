package wire_test

import (
	"testing"

	"github.com/sallyport/sallyport/vaultpki/internal/wire"
)

func TestPathsAreWhatTheyLookLike(t *testing.T) {
	for _, path := range []string{"secret", "sallyport/saml", "a.b/c_d-e", "~"} {
		if err := wire.CheckPath(path); err != nil {
			t.Errorf("%q: %v", path, err)
		}
	}
	for _, path := range []string{
		"", "/a", "a/", "a//b", ".", "..", "a/../b", "a/./b", "a..b", "a b", "a\n", "ä", "a?b", "a#b", "a%2fb", `a\b`, "a*", "+/a", `a"`, "{{a}}",
	} {
		if wire.CheckPath(path) == nil {
			t.Errorf("%q is accepted", path)
		}
	}
	if wire.CheckName("a/b") == nil || wire.CheckName("..") == nil || wire.CheckName("sallyport-gateway") != nil {
		t.Error("a name is a path of one segment")
	}
}
