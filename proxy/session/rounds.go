package session

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"slices"
	"time"
)

// roundsName is the door's cookie that counts sign-ons that came to nothing. It
// goes along with the identity provider's cross-site POST, where they are counted
// too; it opens nothing.
const roundsName = CookiePrefix + "-rounds"

const (
	// roundsWindow is how long a row of sign-ons is one: a person who opens a tool
	// again after that begins anew.
	roundsWindow = time.Minute
	// maxRows bounds the hosts that are counted, the last ones, and with them the
	// cookie.
	maxRows = 4
)

// row is how often in a row a sign-on was delivered to one host.
type row struct {
	Host  string `json:"h"` // a hash
	Count int    `json:"n"`
	First int64  `json:"f"` // when the row began, in Unix microseconds
	Last  int64  `json:"l"` // when it last grew
}

// Round notes that a sign-on which host asked for at begun, in Unix microseconds,
// is now delivered there, and returns which one in a row it is, 1 for the first.
//
// A row grows only with a sign-on that was asked for after the one before had been
// delivered: then what was delivered has not lasted. Tabs that are opened together
// are no row, however many they are: they ask before the first of them is served.
// Those that ask while its session is on the way to the browser make at most
// a round for each time that a redirect takes, two or three in all.
//
// The count is the browser's own: two answers at once may lose a round, and
// whoever takes the cookie away is not counted.
func (m *Manager) Round(w http.ResponseWriter, r *http.Request, host string, begun int64) int {
	now := m.cfg.Now()
	sum := sha256.Sum256([]byte(host))
	this := row{Host: base64.RawURLEncoding.EncodeToString(sum[:6]), Count: 1, First: now.UnixMicro(), Last: now.UnixMicro()}
	rows := m.openRounds(r)
	if i := slices.IndexFunc(rows, func(o row) bool { return o.Host == this.Host }); i >= 0 {
		before := rows[i]
		rows = slices.Delete(rows, i, i+1)
		if age := now.Sub(time.UnixMicro(before.First)); age >= 0 && age < roundsWindow {
			if this.First = before.First; begun > before.Last {
				this.Count = before.Count + 1
			} else {
				this.Count, this.Last = before.Count, before.Last
			}
		}
	}
	rows = append(rows, this)
	set(w, &http.Cookie{
		Name: roundsName, Value: sealJSON(m.rounds, rows[max(0, len(rows)-maxRows):], ""),
		MaxAge: int(roundsWindow.Seconds()), SameSite: http.SameSiteNoneMode,
	})
	return this.Count
}

// openRounds returns the rows that this browser was told of, the latest last.
func (m *Manager) openRounds(r *http.Request) []row {
	var rows []row
	cookies := r.CookiesNamed(roundsName)
	if len(cookies) != 1 || !openJSON(m.rounds, cookies[0].Value, "", &rows) {
		return nil
	}
	return rows
}

// ForgetRounds begins all rows of this browser anew.
func (m *Manager) ForgetRounds(w http.ResponseWriter) {
	expire(w, roundsName, http.SameSiteNoneMode)
}
