package accesslog

// Scope says which lines a field is on.
type Scope string

// The scopes.
const (
	OfAll      Scope = "all"      // every line that has a value for it
	OfRequests Scope = "requests" // lines about requests
	OfEvents   Scope = "events"   // lines about anything else
	OfLog      Scope = "log"      // what the log says of itself
)

// Field describes one member of a line to whoever reads it.
type Field struct {
	Name    string
	Type    string // of ECS: keyword, long, date, ip, text; [] for a list
	Example string // as JSON
	Scope   Scope
	Meaning string // Markdown
}

// Fields are all that lines have, in the order in which they stand there.
func Fields() []Field {
	var all []Field
	for _, group := range [][]Field{fieldsOfAll(), fieldsOfWho(), fieldsOfRequests(), fieldsOfResults(), fieldsOfEvents(), fieldsOfLog()} {
		all = append(all, group...)
	}
	return all
}

func fieldsOfAll() []Field {
	return []Field{
		{"@timestamp", "date", `"2026-11-22T20:29:01.123456Z"`, OfAll, "when the request arrived, or the event happened"},
		{"ecs.version", "keyword", `"8.17.0"`, OfAll, "the schema"},
		{"event.kind", "keyword", `"event"`, OfAll, "`event`; `alert` for an alarm about the introduction"},
		{"event.category", "keyword[]", `["web"]`, OfAll, "follows from `event.action`, as the table of kinds says"},
		{"event.type", "keyword[]", `["access"]`, OfAll, "the same; the end of what had a line at its beginning is `access` and `end`"},
		{"event.action", "keyword", `"access"`, OfAll, "the kind of the line"},
		{"event.outcome", "keyword", `"success"`, OfAll, "`success`, `failure`, or `unknown` where somebody was sent to sign in, for the first time or again"},
		{"service.name", "keyword", `"sallyport-gateway"`, OfAll, "who wrote the line"},
		{"http.request.id", "keyword", `"k5z3q7m2w4xa6bcd"`, OfAll, "on every page that a person sees, and in `X-Request-Id` at the backend; of an event, the request that brought it about"},
		{"trace.id", "keyword", `"0af7651916cd6b7de81f9c2b1c4d2e30"`, OfRequests, "the trace that the request belongs to, if requests are [traced](tracing.md); of one that begins here, the last 20 digits are `http.request.id` in hex"},
		{"span.id", "keyword", `"b7ad6b7169203331"`, OfRequests, "its span, if that is sent to a collector"},
		{"event.reason", "keyword", `"group_allowed"`, OfAll, "why, as a stable code: [reasons.md](reasons.md), [saml-refusals.md](saml-refusals.md); of an event as the table of kinds says"},
	}
}

func fieldsOfWho() []Field {
	return []Field{
		{"sallyport.decision", "keyword", `"allow"`, OfAll, "`allow`, `deny`, `signin` where a sign-on is needed, or `step_up` where another one is; on events `deny` on `refused_again` alone"},
		{"rule.name", "keyword", `"group:engineers"`, OfRequests, "what in the route's rule decided, behind the name of the rule if it was [one of its own](routing.md#rules), as in `admin/group:admins`; at a sidecar `peer:NAME`"},
		{"user.name", "keyword", `"alice@example.com"`, OfAll, "who, from the session; at a sidecar as the gateway says it, percent-encoded; or a [pseudonym](#pseudonyms)"},
		{"user.roles", "keyword[]", `["engineers"]`, OfRequests, "the groups that the session has"},
		{"sallyport.session.id", "keyword", `"9f2c4kq7zw3mxa6b"`, OfAll, "a [keyed hash](#ids) of the session's id: joins its lines, opens nothing"},
		{"sallyport.subject.id", "keyword", `"m5xq2a7cw4zk6bd3"`, OfAll, "a keyed hash of who that is at the identity provider: joins a sign-on with the logout request that ends it"},
		{"sallyport.assertion.id", "keyword", `"q7zk3w5xm2a6c4bd"`, OfRequests, "a keyed hash of the id (`jti`) of the assertion that the backend was sent; on a sign-on, of the `ID` of the identity provider's"},
		{"sallyport.step_up", "keyword", `"asked"`, OfRequests, "what has become of a demand for another sign-on: `asked`, `done` or `refused`"},
		{"sallyport.idp", "keyword", `"https://idp.example.com/metadata"`, OfAll, "who vouched, on sign-in lines; who was told of a sign-out or demanded it"},
		{"sallyport.idp_certificate", "keyword", `"5d41402abc4b2a76"`, OfRequests, "SHA-256 of the certificate that the sign-on or the logout message was verified with, in hex"},
	}
}

func fieldsOfRequests() []Field {
	return []Field{
		{"sallyport.route", "keyword", `"headers"`, OfRequests, "the route's name"},
		{"http.request.method", "keyword", `"GET"`, OfRequests, "as it was sent"},
		{"url.domain", "keyword", `"headers.example.com"`, OfRequests, "the host that was asked for"},
		{"url.path", "keyword", `"/deep/link"`, OfRequests, "the path, decoded, but for bytes that are no UTF-8, which are percent-encoded, and for the percent sign, which is `%25`: two paths that differ never look the same"},
		{"url.query", "keyword", `"page=2"`, OfRequests, "of the keys alone that `access_log.query_keys`, or `query_keys` of the route, names"},
		{"http.version", "keyword", `"2"`, OfRequests, "`1.1`, `2` or `3`"},
		{"client.address", "ip", `"192.0.2.7"`, OfAll, "the other end of the connection; behind a trusted proxy, whom that [speaks for](protocols.md#the-clients-address)"},
		{"client.port", "long", `51234`, OfRequests, "its port; often unknown behind a trusted proxy"},
		{"source.address", "ip", `"10.0.0.9"`, OfRequests, "the trusted proxy that passed the request on; absent without one"},
		{"tls.version", "keyword", `"1.3"`, OfRequests, "of the connection with the client"},
		{"tls.client.x509.serial_number", "keyword", `"1f:07:c4"`, OfRequests, "serial number of the client's certificate, if it has shown one: an ingress that asks; at a sidecar the gateway"},
		{"sallyport.via", "keyword", `"forward_auth/nginx"`, OfRequests, "for a question of an ingress ([forward-auth.md](forward-auth.md)): how it was asked; the line tells of the request that was asked about"},
		{"sallyport.peer", "keyword", `"ingress.example.internal"`, OfRequests, "the ingress: the name in its certificate, or its address"},
		{"user_agent.original", "keyword", `"Mozilla/5.0 …"`, OfRequests, "as it was sent"},
	}
}

func fieldsOfResults() []Field {
	return []Field{
		{"http.response.status_code", "long", `200`, OfRequests, "101 for an upgraded connection, 499 when the client went away first; 0 on `stream_begin` if it is not known yet"},
		{"http.request.body.bytes", "long", `5`, OfRequests, "bytes from the client"},
		{"http.response.body.bytes", "long", `26`, OfRequests, "bytes to the client"},
		{"event.duration", "long", `1234567`, OfRequests, "nanoseconds from arrival to the last byte, or to the beginning of a stream"},
		{"sallyport.stream", "keyword", `"upgrade"`, OfRequests, "of an answer that goes on, on both of its lines: `upgrade`, `events`, `grpc`, or `lasting`"},
		{"server.address", "keyword", `"10.0.3.7:8443"`, OfRequests, "where it was forwarded to: with several [upstreams](upstreams.md), the one that was asked last"},
		{"sallyport.upstream.duration", "long", `456789`, OfRequests, "nanoseconds from sending the request on until the head of the backend's answer is there"},
		{"sallyport.upstream.attempts", "long", `2`, OfRequests, "how many upstreams were asked, if more than one"},
		{"sallyport.upstream.client_serial", "keyword", `"3a:92:0b"`, OfRequests, "serial number of the certificate that the gateway has shown to the backend"},
		{"sallyport.upstream.server_serial", "keyword", `"77:d1:5e"`, OfRequests, "serial number of the certificate that the backend has shown"},
	}
}

func fieldsOfEvents() []Field {
	return []Field{
		{"sallyport.refused.count", "long", `412`, OfEvents, "on `refused_again`: how many requests the line stands for"},
		{"event.start", "date", `"2026-11-22T20:29:01.000000Z"`, OfEvents, "on `refused_again` and `log_gap`: when the first of them was"},
		{"event.end", "date", `"2026-11-22T20:29:05.000000Z"`, OfEvents, "on `refused_again` and `log_gap`: when the last of them was"},
		{"sallyport.object.kind", "keyword", `"session_keys"`, OfEvents, "what has changed: `configuration`, `session_keys`, `saml_keys`, `assertion_keys`, `idp_metadata`, `credential`, `pseudonym_key`, `certificate`, `trusted_roots`, `own_metadata`"},
		{"sallyport.object.name", "keyword", `"secret/sallyport/session"`, OfEvents, "where it is, or its name"},
		{"sallyport.object.version", "keyword", `"8"`, OfEvents, "the version that came: in use if `event.outcome` is `success`"},
		{"sallyport.object.version_before", "keyword", `"7"`, OfEvents, "the version that was in use; if the newer one was refused it still is"},
		{"sallyport.object.sections", "keyword[]", `["limits","routes.grafana"]`, OfEvents, "of a configuration: which of its sections, and of its routes, differ from before"},
		{"sallyport.certificate.name", "keyword", `"gateway.internal"`, OfEvents, "the certificate's name"},
		{"sallyport.certificate.serial", "keyword", `"1f:07:c4"`, OfEvents, "its serial number, as Vault writes it"},
		{"sallyport.certificate.not_after", "date", `"2026-11-23T20:29:01.000000Z"`, OfEvents, "its end"},
		{"sallyport.vault.auth_method", "keyword", `"approle"`, OfEvents, "how the process logs in"},
		{"sallyport.vault.accessor", "keyword", `"hmac-sha256:8d2e…"`, OfEvents, "accessor of the Vault token in the form of [Vault's audit log](#vaults-audit-log): joins both"},
		{"sallyport.vault.policies", "keyword[]", `["sallyport-gateway"]`, OfEvents, "what the token may"},
		{"sallyport.introduction.source", "keyword", `"/run/secrets/token"`, OfEvents, "where the introduction was found"},
		{"sallyport.introduction.hash", "keyword", `"sha256:5d41402abc4b"`, OfEvents, "a part of its SHA-256: the deployer's log has the same"},
		{"error.message", "text", `"dial tcp …: connection refused"`, OfAll, "the private cause; people see the request id instead"},
	}
}

func fieldsOfLog() []Field {
	const instance, hash = "2f7kq3zw4mxa6bcd5e2f7kq3zw", "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"
	return []Field{
		{"sallyport.version", "keyword", `"1.4.0"`, OfLog, "on `log_start`: of the program"},
		{"host.name", "keyword", `"edge-1"`, OfLog, "on `log_start`: where it runs"},
		{"process.pid", "long", `4711`, OfLog, "on `log_start`"},
		{"sallyport.log.predecessor", "object", `{"instance":"` + instance + `","sequence":812,"hash":"` + hash + `"}`, OfLog, "on `log_start`: the last record that the file had before"},
		{"sallyport.log.key", "keyword", `"11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="`, OfLog, "on `log_start`: the public key that checkpoints are signed with while Vault is away"},
		{"sallyport.log.checkpoints", "object", `{"every":60,"records":10000,"signer":"transit/transit/log"}`, OfLog, "on `log_start`: how often checkpoints come, in seconds and records, and which key in Vault signs"},
		{"sallyport.log.dropped", "long", `17`, OfLog, "on `log_gap`: how many records were lost"},
		{"sallyport.log.checkpoint", "object", `{"instance":"` + instance + `","sequence":1000}`, OfLog, "on `checkpoint`: what is signed, by which key, and the signature"},
		{"sallyport.log.instance", "keyword", `"` + instance + `"`, OfAll, "the run of the process that wrote the line; with the next two the seal, which ends every line"},
		{"sallyport.log.sequence", "long", `813`, OfAll, "the line's number in its instance, from 1, without holes"},
		{"sallyport.log.previous", "keyword", `"` + hash + `"`, OfAll, "SHA-256 of the line before it, in base64url; of the first, 43 times `A`"},
	}
}
