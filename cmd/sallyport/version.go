package main

import (
	"fmt"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// versionCommand tells what the Go toolchain recorded; nothing is stamped in by
// linker flags, so that two builds of one commit are equal bit for bit.
func versionCommand(io stdio) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print what this binary was built from",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			info := buildInfo()
			_, err := fmt.Fprintf(io.Out, "sallyport %s\nrevision  %s\nbuilt by  %s\n", or(info.Main.Version, "(unknown)"), revision(info), info.GoVersion)
			return err
		},
	}
}

// buildInfo is what the linker noted, as far as it did.
func buildInfo() *debug.BuildInfo {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info
	}
	return &debug.BuildInfo{}
}

// buildVersion is the version of this binary, for a status.
func buildVersion() string { return or(buildInfo().Main.Version, "(unknown)") }

// revision is the commit of the source, and whether it was changed since.
func revision(info *debug.BuildInfo) string {
	settings := make(map[string]string)
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	suffix := ""
	if settings["vcs.modified"] == "true" {
		suffix = " (modified)"
	}
	return or(settings["vcs.revision"], "(unknown)") + suffix
}

// or returns value, or fallback for an empty one.
func or(value, fallback string) string {
	if value == "" {
		return fallback
	}
	return value
}
