package session

import (
	"net/http"
	"strings"
	"time"
)

// Lapsed returns the state of a session that has run out at host by itself, and was
// not ended. It says who the person was, and lets nobody in.
func (m *Manager) Lapsed(r *http.Request, host string) (*State, bool) {
	s, absence := m.open(r, host)
	if absence != Present {
		return nil, false
	}
	_, absence = m.judge(s)
	return s, absence == AbsentIdle || absence == AbsentExpired
}

// formPrefix names the cookie on a tool's host that opens a kept form; the form's id
// follows.
const formPrefix = CookiePrefix + "-form-"

// LeaveFormKey leaves the key of a kept form with the browser that sent it, and nowhere
// else. id is not a client's.
func LeaveFormKey(w http.ResponseWriter, id, key string, life time.Duration) {
	set(w, &http.Cookie{Name: formPrefix + id, Value: key, MaxAge: int(life.Seconds()), SameSite: http.SameSiteLaxMode})
}

// FormKey returns the key of the form id that this browser has, or "".
func FormKey(r *http.Request, id string) string {
	if cookies := r.CookiesNamed(formPrefix + id); len(cookies) == 1 {
		return cookies[0].Value
	}
	return ""
}

// ForgetFormKeys takes the keys away of all forms that are not kept any more.
func ForgetFormKeys(w http.ResponseWriter, r *http.Request, kept func(id string) bool) {
	for _, c := range r.Cookies() {
		if id, ours := strings.CutPrefix(c.Name, formPrefix); ours && !kept(id) {
			expire(w, c.Name, http.SameSiteLaxMode)
		}
	}
}

// ForgetFormKey takes the key of a form away that is not kept any more. id is not a
// client's.
func ForgetFormKey(w http.ResponseWriter, id string) {
	expire(w, formPrefix+id, http.SameSiteLaxMode)
}
