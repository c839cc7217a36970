package idp

import (
	"crypto/rand"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
)

// cookieName has the __Host- prefix: no other host can set it. Lax lets it come
// along when a service provider sends the browser here.
const cookieName = "__Host-idp"

func (p *IdP) session(r *http.Request) (session, bool) {
	cookie, err := r.Cookie(cookieName)
	if err != nil {
		return session{}, false
	}
	return p.sessions.get(cookie.Value)
}

func setCookie(w http.ResponseWriter, value string, maxAge int) {
	http.SetCookie(w, &http.Cookie{
		Name: cookieName, Value: value, Path: "/", MaxAge: maxAge,
		Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
}

// loginPage is what login.html shows.
type loginPage struct {
	Request string // names the sign-on that waits; "" for none
	Service string // "" for none
	User    string // as typed before
	Wrong   bool   // the last try was
}

func (p *IdP) serveLogin(w http.ResponseWriter, r *http.Request) {
	page := loginPage{Request: r.URL.Query().Get("request")}
	waiting, ok := p.pending.get(page.Request)
	if page.Request != "" && !ok {
		p.fail(w, http.StatusBadRequest, "This sign-on has already been used, or it is too old. Go back to the tool and open it again.", nil)
		return
	}
	page.Service = waiting.service
	p.page(w, http.StatusOK, "login.html", page)
}

func (p *IdP) takeLogin(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		p.fail(w, http.StatusBadRequest, "The form could not be read.", err)
		return
	}
	id := r.PostForm.Get("request")
	name := strings.TrimSpace(r.PostForm.Get("username"))
	user, ok := authenticate(p.users, name, r.PostForm.Get("password"))
	if !ok {
		waiting, _ := p.pending.get(id)
		p.log.Warn("wrong user name or password")
		p.page(w, http.StatusUnauthorized, "login.html", loginPage{
			Request: id, Service: waiting.service, User: name, Wrong: true,
		})
		return
	}
	p.forget(r)
	setCookie(w, p.sessions.put(session{user: user, since: p.since(), index: rand.Text(), used: new(atomic.Bool)}), 0)
	http.Redirect(w, r, afterLogin(id), http.StatusSeeOther)
}

// afterLogin never leaves this site: the only thing taken from the form is a name.
func afterLogin(id string) string {
	if id == "" {
		return "/"
	}
	return "/continue?" + url.Values{"request": {id}}.Encode()
}

// homePage is what home.html and signout.html show.
type homePage struct {
	SignedIn        bool
	Incomplete      bool // the service has not signed out
	FullName, Email string
	Groups          []string
}

func (p *IdP) home(r *http.Request) homePage {
	current, ok := p.session(r)
	if !ok {
		return homePage{}
	}
	return homePage{
		SignedIn: true,
		FullName: current.user.FullName, Email: current.user.Email, Groups: current.user.Groups,
	}
}

func (p *IdP) serveHome(w http.ResponseWriter, r *http.Request) {
	p.page(w, http.StatusOK, "home.html", p.home(r))
}

func (p *IdP) serveSignOut(w http.ResponseWriter, r *http.Request) {
	p.page(w, http.StatusOK, "signout.html", p.home(r))
}

func (p *IdP) takeSignOut(w http.ResponseWriter, r *http.Request) {
	current, known := p.session(r)
	p.forget(r)
	setCookie(w, "", -1)
	if known && current.used.Load() && p.tellService(w, r, current) {
		return
	}
	http.Redirect(w, r, "/signout", http.StatusSeeOther)
}

// forget ends the session that the browser has, if any.
func (p *IdP) forget(r *http.Request) {
	if cookie, err := r.Cookie(cookieName); err == nil {
		p.sessions.remove(cookie.Value)
	}
}
