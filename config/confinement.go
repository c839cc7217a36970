package config

import "path/filepath"

// Confinement is what a sidecar keeps beside what it needs, and whether it may be without:
// the kernel keeps it from every other file and TCP port. The application is not confined.
type Confinement struct {
	// Required has a start fail where the kernel cannot do all of it. Default false: what
	// is missing is warned of.
	Required bool `yaml:"required"`
	// UnsafeOff leaves the sidecar with all that its user may do. Default false.
	UnsafeOff bool `yaml:"unsafe_off"`
	// Read are absolute paths of further files and folders that it may read.
	Read []string `yaml:"read"`
	// Write are absolute paths of further files and folders that it may write.
	Write []string `yaml:"write"`
	// Connect are further TCP ports that it may connect to, of any host.
	Connect []int `yaml:"connect"`
}

// confinement reports what is wrong with it.
func (c *collector) confinement(at string, f Confinement) {
	if f.UnsafeOff && f.Required {
		c.add(join(at, "required"), "true beside unsafe_off", "one of the two")
	}
	absolute := func(path string) string {
		if !filepath.IsAbs(path) || path != filepath.Clean(path) || path == "/" {
			return "an absolute path of a file or folder, without . and .. in it"
		}
		return ""
	}
	c.texts(join(at, "read"), f.Read, absolute)
	c.texts(join(at, "write"), f.Write, absolute)
	for i, port := range f.Connect {
		c.count(entry(join(at, "connect"), i), port, 1, maxPort)
	}
}
