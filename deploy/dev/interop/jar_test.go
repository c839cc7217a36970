package interop

import (
	"net/http"
	"strings"
)

// jar keeps cookies. Unlike net/http/cookiejar it knows SameSite, on which single
// logout depends: what an identity provider has a browser post, or loads in a frame,
// comes without the door's session.
type jar struct {
	cookies map[string]*http.Cookie // by domain, path and name
}

func newJar() *jar { return &jar{cookies: map[string]*http.Cookie{}} }

// keep takes the cookies of an answer.
func (j *jar) keep(resp *http.Response, v *visit) {
	for _, c := range resp.Cookies() {
		if v.frame && v.cross && c.SameSite != http.SameSiteNoneMode {
			continue
		}
		domain := strings.TrimPrefix(c.Domain, ".")
		if domain == "" {
			domain = "=" + resp.Request.URL.Hostname() // this host alone
		}
		key := domain + ";" + c.Path + ";" + c.Name
		if c.MaxAge < 0 || !c.Expires.IsZero() && c.Expires.Unix() <= 86400 {
			delete(j.cookies, key)
			continue
		}
		c.Domain = domain
		j.cookies[key] = c
	}
}

// send adds to a request the cookies that go along.
func (j *jar) send(req *http.Request, v *visit) {
	for _, c := range j.cookies {
		if goesTo(c, req) && mayCross(c, req.Method, v) {
			req.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
		}
	}
}

func goesTo(c *http.Cookie, req *http.Request) bool {
	host := req.URL.Hostname()
	if only, ok := strings.CutPrefix(c.Domain, "="); ok {
		if only != host {
			return false
		}
	} else if host != c.Domain && !strings.HasSuffix(host, "."+c.Domain) {
		return false
	}
	return c.Path == "" || strings.HasPrefix(req.URL.Path, c.Path)
}

// mayCross is the rule of SameSite, where a cookie that says nothing is Lax.
func mayCross(c *http.Cookie, method string, v *visit) bool {
	switch {
	case !v.cross || c.SameSite == http.SameSiteNoneMode:
		return true
	case c.SameSite == http.SameSiteStrictMode:
		return false
	}
	return method == http.MethodGet && !v.frame
}

// forget drops the cookies of hosts.
func (j *jar) forget(hosts ...string) {
	for key := range j.cookies {
		for _, host := range hosts {
			if strings.HasPrefix(key, "="+host+";") {
				delete(j.cookies, key)
			}
		}
	}
}
