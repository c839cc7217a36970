package config

import "time"

// Sidecar is the configuration of `sallyport sidecar`, checked and with every
// default filled in. It must not be modified after [LoadSidecar] has returned
// it; reading it concurrently is safe.
type Sidecar struct {
	// Name is the name in the sidecar's certificate, which the gateway pins,
	// e.g. "headers.backend.sallyport.internal". Required.
	Name Peer `yaml:"name"`
	// Listen is the address for the gateway's mutual TLS, as [net.Listen]
	// takes it. Default ":8443".
	Listen string `yaml:"listen"`
	// ReusePort lets another process listen on Listen and Admin beside this one, for
	// an upgrade. Linux only. Default false.
	ReusePort bool `yaml:"reuse_port"`
	// App is where the unmodified tool listens: http://127.0.0.1:PORT, always
	// on loopback. Required.
	App Origin `yaml:"app"`
	// AppProtocol is what the tool speaks: "http1", or "h2c" for HTTP/2 in the clear
	// with prior knowledge, as servers of gRPC do. Default "http1".
	AppProtocol string `yaml:"app_protocol"`
	// Gateways are the names whose client certificates are let in. Default
	// just "gateway.sallyport.internal". Never empty.
	Gateways []string `yaml:"gateways"`
	// PKI issues the sidecar's certificate. Default mount "pki-backend", role
	// "sidecar-LABEL" with the label of Name, TTL 24h.
	PKI PKI `yaml:"pki"`
	// Refresh is how often the configuration is read again. Default 1m, 1s to 1h.
	Refresh Duration `yaml:"refresh"`
	// Admin is the plain-HTTP address of probes and metrics. Default
	// "127.0.0.1:9091"; only loopback unless UnsafeAdminNotLoopback.
	Admin string `yaml:"admin"`
	// UnsafeAdminNotLoopback lets Admin be an address that other machines can
	// reach. Default false.
	UnsafeAdminNotLoopback bool `yaml:"unsafe_admin_not_loopback"`
	// Tracing is where spans are sent of what the gateway traces.
	Tracing Collector `yaml:"tracing"`
	// RecordUsers has lines of the access log say who asks. Default true.
	RecordUsers bool `yaml:"record_users"`
	// Confine is what the process may touch beside what it needs.
	Confine Confinement `yaml:"confine"`
	// Stop is how the process ends.
	Stop Stop `yaml:"stop"`
	// Child is how the application is run, if the sidecar runs it.
	Child Child `yaml:"child"`
	// Secrets are what is rendered for it.
	Secrets Secrets `yaml:"secrets"`
}

// defaultSidecar returns what an empty file means, before [Sidecar.complete].
func defaultSidecar() Sidecar {
	return Sidecar{
		Listen:      ":8443",
		AppProtocol: appHTTP1,
		Gateways:    []string{defaultGatewayName},
		PKI:         PKI{Mount: "pki-backend", TTL: Duration{24 * time.Hour}},
		Refresh:     Duration{time.Minute},
		Admin:       "127.0.0.1:9091",
		Tracing:     defaultCollector(),
		RecordUsers: true,
		Stop:        defaultStop(),
		Child:       defaultChild(),
		Secrets:     defaultSecrets(),
	}
}

// What a tool may speak.
const (
	appHTTP1 = "http1"
	appH2C   = "h2c"
)

var appProtocols = [...]string{appHTTP1, appH2C}

// H2C reports whether the tool speaks HTTP/2 in the clear.
func (s *Sidecar) H2C() bool { return s.AppProtocol == appH2C }

// complete fills in the defaults that follow from other keys.
func (s *Sidecar) complete() {
	if s.PKI.Role == "" {
		s.PKI.Role = "sidecar-" + s.Name.Label()
	}
}
