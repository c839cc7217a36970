package config

import "time"

// validateSidecar reports what is wrong with values that are each well formed.
// Defaults are filled in already.
func validateSidecar(s *Sidecar, faults *collector) {
	if s.Name == "" {
		faults.refuse("name", "the name in the sidecar's certificate, such as grafana.backend.sallyport.internal")
	}
	faults.listen("listen", s.Listen)
	if s.App.Scheme != "http" || !isLoopback(s.App.Host) {
		faults.refuse("app", "http://127.0.0.1:port: plain HTTP, on loopback so that nobody reaches it past the sidecar")
	}
	faults.oneOf("app_protocol", s.AppProtocol, appProtocols[:])
	if len(s.Gateways) == 0 {
		faults.add("gateways", "an empty list", "at least one name: with none the sidecar lets nobody in")
	}
	faults.texts("gateways", s.Gateways, judgePeer)
	faults.pki("pki", s.PKI)
	faults.within("refresh", s.Refresh, time.Second, time.Hour)
	faults.admin("admin", s.Admin, s.UnsafeAdminNotLoopback)
	faults.listeners([]string{"listen", "admin"}, []string{s.Listen, s.Admin})
	faults.collectorOf("tracing", s.Tracing)
	faults.confinement("confine", s.Confine)
	faults.stop("stop", s.Stop)
	faults.child("child", s.Child)
	faults.secrets("secrets", s.Secrets)
}
