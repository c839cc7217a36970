package format

import (
	"net/netip"
	"strconv"
)

// OCSFVersion is the version of the schema that events are of.
const OCSFVersion = "1.5.0"

// class is a class of events.
type class struct {
	uid, category      int
	name, categoryName string
}

// The classes that records are of. What is none of the first three is a base event.
var (
	httpActivity     = class{4002, 4, "HTTP Activity", "Network Activity"}
	authentication   = class{3002, 3, "Authentication", "Identity & Access Management"}
	authorizeSession = class{3003, 3, "Authorize Session", "Identity & Access Management"}
	baseEvent        = class{0, 0, "Base Event", "Uncategorized"}
)

// activity is what an event of a class does.
type activity struct {
	id   int
	name string
}

// other is what has no name in the schema.
const other = 99

// event is what a record is in OCSF.
type event struct {
	class
	activity
}

// eventOf returns it.
func eventOf(r *record) event {
	switch r.peek("event.action") {
	case "signin":
		return event{authentication, activity{1, "Logon"}}
	case "signin_begin":
		return event{authentication, activity{6, "Preauth"}}
	case "signout", "session_revoked":
		return event{authentication, activity{2, "Logoff"}}
	case "signin_carry":
		return event{authorizeSession, activity{1, "Assign Privileges"}}
	case "vault_login":
		return event{authentication, activity{1, "Logon"}}
	case "vault_token_lost":
		return event{authentication, activity{2, "Logoff"}}
	case "introduction", "introduction_alarm":
		return event{authentication, activity{6, "Preauth"}}
	default:
		if r.find("http.request.method") >= 0 {
			return event{httpActivity, methodOf(r.peek("http.request.method"))}
		}
		return event{baseEvent, activity{other, "Other"}}
	}
}

// methodOf is the activity of a method, by which those of HTTP are counted. The version of
// the schema has no PATCH yet.
func methodOf(method string) activity {
	for i, m := range [...]string{"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "POST", "PUT", "TRACE"} {
		if m == method {
			return activity{i + 1, method[:1] + lower(method[1:])}
		}
	}
	return activity{other, "Other"}
}

func lower(capitals string) string {
	text := []byte(capitals)
	for i, c := range text {
		text[i] = c | 0x20
	}
	return string(text)
}

// OCSF appends an event of the Open Cybersecurity Schema Framework.
func OCSF(dst, line []byte) (out []byte, ok bool) {
	r, ok := read(line)
	if !ok {
		return dst, false
	}
	w := &writer{buf: append(dst, '{')}
	ev := eventOf(r)
	r.classify(w, ev)
	r.metadata(w)
	r.verdict(w, ev)
	switch ev.class {
	case httpActivity:
		r.actor(w)
		r.endpoints(w)
		r.exchange(w)
		r.connection(w)
		r.raw("http.request.body.bytes")
	case authentication:
		r.authentication(w)
	case authorizeSession:
		r.user(w)
		r.privileges(w)
		r.session(w)
		r.endpoints(w)
		r.exchange(w)
	default:
		r.optional(w, "message", "error.message")
	}
	r.unmapped(w)
	return append(w.buf, '}'), true
}

// classify writes what every event begins with.
func (r *record) classify(w *writer, ev event) {
	w.number("class_uid", int64(ev.uid))
	w.text("class_name", ev.class.name)
	w.number("category_uid", int64(ev.category))
	w.text("category_name", ev.categoryName)
	w.number("activity_id", int64(ev.id))
	w.text("activity_name", ev.activity.name)
	w.number("type_uid", int64(ev.uid*100+ev.id))
	w.text("type_name", ev.class.name+": "+ev.activity.name)
	w.number("time", r.time().UnixMilli())
	if i := r.find("event.duration"); i >= 0 {
		w.number("duration", r.number("event.duration")/1e6)
	}
	severity := severityOf(r)
	w.number("severity_id", int64(severity.id))
	w.text("severity", severity.name)
}

// severityOf is how much a record matters by itself.
func severityOf(r *record) activity {
	switch {
	case r.peek("event.kind") == "alert":
		return activity{5, "Critical"}
	case r.peek("sallyport.decision") == "deny":
		return activity{2, "Low"}
	case r.peek("event.outcome") == "failure":
		return activity{3, "Medium"}
	}
	return activity{1, "Informational"}
}

// metadata says where the event is from.
func (r *record) metadata(w *writer) {
	w.open("metadata")
	w.text("version", OCSFVersion)
	w.open("product")
	w.text("name", "Sallyport")
	w.text("vendor_name", "Sallyport")
	w.close()
	instance, sequence := r.peek("sallyport.log.instance"), r.peekNumber("sallyport.log.sequence")
	if sequence > 0 && plain(instance) {
		w.text("uid", instance+":"+strconv.FormatInt(sequence, 10))
		w.number("sequence", sequence)
	}
	r.optional(w, "correlation_uid", "http.request.id")
	r.optional(w, "event_code", "event.action")
	w.text("log_name", "access")
	r.optional(w, "log_provider", "service.name")
	r.again(w, "original_time", "@timestamp")
	w.raw("profiles", []byte(`["host","security_control"]`))
	w.close()
}

// verdict says how it ended, and who decided so.
func (r *record) verdict(w *writer, ev event) {
	status := map[string]activity{"success": {1, "Success"}, "failure": {2, "Failure"}}[r.peek("event.outcome")]
	if status.id == 0 {
		status.name = "Unknown"
	}
	r.raw("event.outcome")
	w.number("status_id", int64(status.id))
	w.text("status", status.name)
	if code := r.peekNumber("http.response.status_code"); code > 0 {
		w.text("status_code", strconv.FormatInt(code, 10))
	}
	r.optional(w, "status_detail", "event.reason")
	decision := r.peek("sallyport.decision")
	if decision == "" || ev.class == baseEvent {
		return
	}
	action, disposition := activity{2, "Denied"}, activity{2, "Blocked"}
	switch decision {
	case "allow":
		action, disposition = activity{1, "Allowed"}, activity{1, "Allowed"}
	case "signin", "step_up":
		disposition = activity{23, "Challenge"}
	}
	w.number("action_id", int64(action.id))
	w.text("action", action.name)
	w.number("disposition_id", int64(disposition.id))
	w.text("disposition", disposition.name)
	w.list("authorizations")
	w.open("")
	r.optional(w, "decision", "sallyport.decision")
	if rule := r.raw("rule.name"); rule != nil {
		w.open("policy")
		w.raw("name", rule)
		w.raw("is_applied", []byte("true"))
		w.close()
	}
	w.close()
	w.endList()
}

// actor is who has asked.
func (r *record) actor(w *writer) {
	if r.find("user.name") < 0 && r.find("sallyport.session.id") < 0 {
		return
	}
	w.open("actor")
	if r.find("user.name") >= 0 {
		r.user(w)
	}
	r.session(w)
	w.close()
}

// user is a person; one who is not known is called so.
func (r *record) user(w *writer) {
	w.open("user")
	if name := r.raw("user.name"); name != nil {
		w.raw("name", name)
		w.number("type_id", 1)
	} else {
		w.text("name", "unknown")
		w.number("type_id", 0)
	}
	w.close()
}

// session is that of a person.
func (r *record) session(w *writer) {
	id := r.raw("sallyport.session.id")
	if id == nil {
		return
	}
	w.open("session")
	w.raw("uid", id)
	r.optional(w, "issuer", "sallyport.idp")
	w.close()
}

// privileges are what a session has been given: the groups, or that somebody is signed in.
func (r *record) privileges(w *writer) {
	if groups := r.raw("user.roles"); groups != nil {
		w.raw("privileges", groups)
		return
	}
	w.raw("privileges", []byte(`["signed_in"]`))
}

// authentication is a sign-on, its end, or that of a process at Vault.
func (r *record) authentication(w *writer) {
	r.user(w)
	r.session(w)
	if method := r.raw("sallyport.vault.auth_method"); method != nil {
		w.number("auth_protocol_id", other)
		w.raw("auth_protocol", method)
	} else {
		w.number("auth_protocol_id", 5)
		w.text("auth_protocol", "SAML")
		w.number("logon_type_id", 3)
		w.text("logon_type", "Network")
	}
	w.raw("is_remote", []byte("true"))
	w.open("service")
	w.text("name", "Sallyport")
	w.close()
	r.endpoints(w)
	r.exchange(w)
	r.optional(w, "message", "error.message")
}

// endpoints are the client, and what it has asked for.
func (r *record) endpoints(w *writer) {
	if r.find("client.address") >= 0 {
		w.open("src_endpoint")
		r.address(w, "client.address")
		r.optional(w, "port", "client.port")
		if _, err := netip.ParseAddr(r.peek("source.address")); err == nil {
			w.list("intermediate_ips")
			w.item(r.raw("source.address"))
			w.endList()
		}
		w.close()
	}
	if r.peek("url.domain") != "" {
		w.open("dst_endpoint")
		r.optional(w, "hostname", "url.domain")
		r.optional(w, "svc_name", "sallyport.route")
		w.close()
	}
}

// address writes an address as what it is.
func (r *record) address(w *writer, name string) {
	key := "ip"
	if _, err := netip.ParseAddr(r.peek(name)); err != nil {
		key = "hostname"
	}
	w.raw(key, r.raw(name))
}

// exchange is the request and its answer.
func (r *record) exchange(w *writer) {
	if r.find("http.request.method") < 0 {
		return
	}
	w.open("http_request")
	if methodOf(r.peek("http.request.method")).id != other {
		r.optional(w, "http_method", "http.request.method")
	}
	r.again(w, "uid", "http.request.id")
	r.optional(w, "user_agent", "user_agent.original")
	r.optional(w, "version", "http.version")
	w.open("url")
	r.again(w, "hostname", "url.domain")
	r.optional(w, "path", "url.path")
	r.optional(w, "query_string", "url.query")
	w.text("scheme", "https")
	w.close()
	w.close()
	r.answer(w)
}

// answer is what came back.
func (r *record) answer(w *writer) {
	w.open("http_response")
	w.number("code", r.number("http.response.status_code"))
	w.number("length", r.number("http.response.body.bytes"))
	if r.find("sallyport.upstream.duration") >= 0 { // which stays beside, and is more exact
		w.number("latency", r.peekNumber("sallyport.upstream.duration")/1e6)
	}
	w.close()
}

// connection is what only events of the network have: how much went which way, and TLS.
func (r *record) connection(w *writer) {
	in, out := r.peekNumber("http.request.body.bytes"), r.peekNumber("http.response.body.bytes")
	w.open("traffic")
	w.number("bytes_in", in)
	w.number("bytes_out", out)
	w.number("bytes", in+out)
	w.close()
	if r.find("tls.version") >= 0 {
		w.open("tls")
		r.optional(w, "version", "tls.version")
		w.close()
	}
}

// unmapped is everything that has no place elsewhere.
func (r *record) unmapped(w *writer) {
	w.open("unmapped")
	for _, m := range r.members {
		if !m.used && m.name != "@timestamp" && m.name != "ecs.version" {
			w.raw(m.name, m.value)
		}
	}
	w.close()
}

// optional writes a value of the record under another name, if there is one.
func (r *record) optional(w *writer, key, name string) {
	if value := r.raw(name); value != nil {
		w.raw(key, value)
	}
}

// again writes a value that has another place besides.
func (r *record) again(w *writer, key, name string) {
	if i := r.find(name); i >= 0 {
		w.raw(key, r.members[i].value)
	}
}

// plain reports whether text is nothing but letters and digits.
func plain(text string) bool {
	for i := range len(text) {
		if c := text[i] | 0x20; (c < 'a' || c > 'z') && (text[i] < '0' || text[i] > '9') {
			return false
		}
	}
	return text != ""
}

// writer appends members of nested JSON objects. Names are the schema's or the log's own,
// and values either come from the log as they stand there, or are plain words of ours.
type writer struct{ buf []byte }

func (w *writer) comma() {
	if last := w.buf[len(w.buf)-1]; last != '{' && last != '[' {
		w.buf = append(w.buf, ',')
	}
}

func (w *writer) key(name string) {
	w.comma()
	w.buf = append(w.buf, '"')
	w.buf = append(w.buf, name...)
	w.buf = append(w.buf, '"', ':')
}

// open begins an object; without a name it is an item of a list.
func (w *writer) open(name string) {
	if name == "" {
		w.comma()
	} else {
		w.key(name)
	}
	w.buf = append(w.buf, '{')
}

func (w *writer) close() { w.buf = append(w.buf, '}') }

func (w *writer) list(name string) {
	w.key(name)
	w.buf = append(w.buf, '[')
}

func (w *writer) item(json []byte) {
	w.comma()
	w.buf = append(w.buf, json...)
}

func (w *writer) endList() { w.buf = append(w.buf, ']') }

func (w *writer) raw(name string, json []byte) {
	w.key(name)
	w.buf = append(w.buf, json...)
}

func (w *writer) number(name string, n int64) {
	w.key(name)
	w.buf = strconv.AppendInt(w.buf, n, 10)
}

// text writes a word of ours, in which nothing is to be escaped.
func (w *writer) text(name, word string) {
	w.key(name)
	w.buf = append(w.buf, '"')
	w.buf = append(w.buf, word...)
	w.buf = append(w.buf, '"')
}
