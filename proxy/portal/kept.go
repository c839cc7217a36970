package portal

import "net/http"

// Kept is a form that was kept for somebody who had to sign in first, and can be sent
// now.
type Kept struct {
	Tool, User string
	// Method and Path are where it goes; of the query nothing is shown.
	Method, Path string
	// Size and Age are in words.
	Size, Age string
	// Send and Discard are the addresses that the two buttons post to.
	Send, Discard string
}

// WriteKept answers with k.
//
// The tool answers the button, and may redirect to where it likes, which Chromium
// holds to this page's form-action too. It is told in Origin that the form comes from
// its own address, which without a referrer would be "null".
func (p *Pages) WriteKept(w http.ResponseWriter, k Kept) error {
	return p.write(w, http.StatusOK, p.common+p.answered+noFrames, "kept.html", k)
}
