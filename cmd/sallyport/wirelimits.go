package main

import (
	"math"
	"net"
	"os"
	"path"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/config"
	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/listen"
)

const mebibyte = 1 << 20

// gatewayLimits translates the limits of requests.
func gatewayLimits(l config.Limits) proxy.Limits {
	limits := proxy.Limits{
		Requests: l.Requests, PerPerson: l.RequestsPerPerson, Memory: int64(l.MemoryMiB) * mebibyte, StrangersPerSecond: l.StrangersPerSecond,
		URLBytes: l.URLBytes, HeaderNames: l.HeaderNames, Stall: l.Stall.Duration,
	}
	if limits.Memory == 0 {
		limits.Memory = memoryLimit("/")
	}
	return limits
}

// connectionLimits holds a listener's connections to what is configured.
func connectionLimits(l config.Limits, metrics *proxy.Metrics) func(net.Listener) net.Listener {
	return func(inner net.Listener) net.Listener {
		return listen.Limit(inner, listen.Limits{
			Total: l.Connections, PerAddress: l.ConnectionsPerAddress, Stall: l.Stall.Duration,
			Closed: metrics.ConnectionClosed, Opened: metrics.Connections,
		})
	}
}

// memoryLimit is what the process runs under: GOMEMLIMIT, which the runtime has read, or
// that of its cgroup (version 2) below root; zero if there is none.
func memoryLimit(root string) int64 {
	limit := debug.SetMemoryLimit(-1) // asks, and changes nothing
	for _, name := range [...]string{"memory.max", "memory.high"} {
		text, err := os.ReadFile(path.Join(root, "sys/fs/cgroup", name))
		if err != nil {
			continue
		}
		if n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && n > 0 { // else "max"
			limit = min(limit, n)
		}
	}
	if limit == math.MaxInt64 {
		return 0
	}
	return limit
}

// routeLimits translates those of a route.
func routeLimits(l config.RouteLimits) proxy.RouteLimits {
	return proxy.RouteLimits{
		Requests: l.Requests, BodyBytes: int64(l.BodyMiB) * mebibyte, HeaderBytes: l.HeaderBytes, AnswerTime: l.AnswerTime.Duration,
	}
}

// answersOf translates what becomes of a route's answers.
func answersOf(a config.Answers) proxy.Answers {
	answers := proxy.Answers{
		FrameOrigins: originTexts(a.FrameOrigins), Remove: a.RemoveHeaders, Origins: originTexts(a.RewriteLocation), UnsafeCookieDomain: a.UnsafeCookieDomain,
	}
	switch a.Frames {
	case "nobody":
		answers.Frames = proxy.FramesNobody
	case "tool":
		answers.Frames = proxy.FramesTool
	}
	for _, line := range a.SetHeaders {
		answers.Set = append(answers.Set, proxy.HeaderLine{Name: line.Name, Value: line.Value})
	}
	return answers
}

func originTexts(list []config.Origin) []string {
	var texts []string
	for _, o := range list {
		texts = append(texts, o.String())
	}
	return texts
}
