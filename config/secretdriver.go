package config

import "time"

// SecretDriver is the configuration of `sallyport secret-driver`, checked and with
// every default filled in. It must not be modified after [LoadSecretDriver] has
// returned it; reading it concurrently is safe.
type SecretDriver struct {
	// Socket is where the container engine looks for the driver: the absolute path
	// of a Unix socket. Default "/run/docker/plugins/sallyport.sock".
	Socket string `yaml:"socket"`
	// Admin is the plain-HTTP address of probes and metrics. Default
	// "127.0.0.1:9092"; only loopback unless UnsafeAdminNotLoopback.
	Admin string `yaml:"admin"`
	// UnsafeAdminNotLoopback lets Admin be an address that other machines can
	// reach. Default false.
	UnsafeAdminNotLoopback bool `yaml:"unsafe_admin_not_loopback"`
	// Stop is how the process ends.
	Stop DriverStop `yaml:"stop"`
	// Roles are the roles that are introduced, and to which services.
	Roles []DrivenRole `yaml:"roles"`
	// Secrets are the KV secrets that are handed out, and to which services.
	Secrets []DrivenSecret `yaml:"secrets"`
}

// DrivenRole allows one AppRole to be introduced to some services: those that
// fulfil everything that is said, which is a service or a stack at least.
type DrivenRole struct {
	// Role is the name of the AppRole. Required.
	Role string `yaml:"role"`
	// Services are names, or patterns such as "shop_*"; one has to match the whole
	// name of the service. Empty for any, if Stacks says something. A pattern
	// without Stacks may fit services of other stacks, such as "shop_evil_app".
	Services []string `yaml:"services"`
	// Stacks are names of stacks. Empty for any, if Services says something.
	Stacks []string `yaml:"stacks"`
	// Labels are NAME=VALUE, labels that the service must have.
	Labels []string `yaml:"labels"`
	// WrapTTL is the life of a wrapping token. Default 5m, at most 1h; a secret's
	// label may ask for less.
	WrapTTL Duration `yaml:"wrap_ttl"`
	// Networks are the CIDRs from which the introduction is of use. Empty leaves
	// it to the role.
	Networks []string `yaml:"networks"`
}

// DrivenSecret allows one secret of a KV version 2 mount to be handed out to some
// services; see [DrivenRole].
type DrivenSecret struct {
	// Mount is the path of the KV mount. Default "secret".
	Mount string `yaml:"mount"`
	// Path is the secret's path below the mount. Required.
	Path string `yaml:"path"`
	// Fields may be handed out as they are.
	Fields []string `yaml:"fields"`
	// Wrapped allows the whole secret, wrapped. Default false.
	Wrapped bool `yaml:"wrapped"`
	// WrapTTL is as in [DrivenRole].
	WrapTTL Duration `yaml:"wrap_ttl"`
	// Services, Stacks and Labels are as in [DrivenRole].
	Services []string `yaml:"services"`
	Stacks   []string `yaml:"stacks"`
	Labels   []string `yaml:"labels"`
}

// defaultWrapTTL lets a container start, and is short enough to notice that one
// did not.
const defaultWrapTTL = 5 * time.Minute

// DriverStop is how a driver ends after SIGTERM. Its one client is the engine, which
// asks again by itself, so there is nobody to announce it to.
type DriverStop struct {
	// Drain is how long requests in flight may take to finish. Default 30s, at most
	// 10m.
	Drain Duration `yaml:"drain"`
}

// defaultSecretDriver returns what an empty file means.
func defaultSecretDriver() SecretDriver {
	return SecretDriver{
		Socket: "/run/docker/plugins/sallyport.sock",
		Admin:  "127.0.0.1:9092",
		Stop:   DriverStop{Drain: defaultStop().Drain},
	}
}

func (r *DrivenRole) setDefaults() { r.WrapTTL = Duration{defaultWrapTTL} }

func (s *DrivenSecret) setDefaults() { s.Mount, s.WrapTTL = "secret", Duration{defaultWrapTTL} }
