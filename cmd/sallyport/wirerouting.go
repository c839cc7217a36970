package main

import (
	"crypto/tls"

	"github.com/sallyport/sallyport/config"
	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/policy"
)

// routed adds to out where the route is, which of its parts have rules of their own,
// and what answers there.
func routed(route *config.Route, out proxy.Route, dial func(name string) *tls.Config) proxy.Route {
	out.Path, out.StripPath, out.BackendHost = route.Path, route.StripPath, route.BackendHost()
	if route.StripPath && route.Path != "/" {
		out.Answers.Prefix = route.Path
	}
	for _, rule := range route.Rules {
		out.Rules = append(out.Rules, policy.PathRule{
			Name: rule.Name, Methods: rule.Methods, Paths: rule.Paths, Exact: rule.Exact,
			Allow: policy.NewRule(rule.Allow.Users, rule.Allow.Groups, rule.Allow.Anyone),
			Deny:  policy.NewRule(rule.Deny.Users, rule.Deny.Groups, false),
		})
	}
	switch {
	case route.Redirect.On():
		out.Redirect = &proxy.Redirect{To: route.Redirect.To, Status: route.Redirect.Status, KeepPath: route.Redirect.KeepPath}
	case route.Respond.On():
		out.Respond = &proxy.Respond{Status: route.Respond.Status, Title: route.Respond.Title, Message: route.Respond.Message}
	case route.IngressOnly():
		// An ingress passes requests on itself, and only asks.
	default:
		backends := origins(route.Backend.Upstreams())
		out.Backend, out.MoreBackends, out.TLS = backends[0], backends[1:], dial(string(route.Backend.Name))
	}
	return out
}
