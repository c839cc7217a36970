// Package backends has requests that forge an identity go through a gateway and a sidecar
// to applications in servers that others wrote: PHP's own, gunicorn and uWSGI. These are
// the ones that take X_Forwarded_User, or X.Forwarded.User, for X-Forwarded-User.
//
// Everything is in its tests. Gateway and sidecar run in the test's process, on real
// connections and without Vault, which has no part in headers; each server is the
// distribution's, and its application writes down every variable that it was given. The
// same requests are sent to each server directly, too: there they forge, or the test
// would show nothing.
package backends
