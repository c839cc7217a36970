package main

import (
	"reflect"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/config"
)

// mostSections bounds how many routes are told of one by one.
const mostSections = 50

// changedSections names what of a configuration has changed, by its keys; of the routes by
// their names.
func changedSections(before, after *config.Gateway) []string {
	var changed []string
	b, a := reflect.ValueOf(before).Elem(), reflect.ValueOf(after).Elem()
	for i := range b.NumField() {
		name, _, _ := strings.Cut(b.Type().Field(i).Tag.Get("yaml"), ",")
		if name == "" || reflect.DeepEqual(b.Field(i).Interface(), a.Field(i).Interface()) {
			continue
		}
		if name == "routes" {
			changed = append(changed, changedRoutes(before.Routes, after.Routes)...)
			continue
		}
		changed = append(changed, name)
	}
	slices.Sort(changed)
	return changed
}

// changedRoutes names those that are new, gone or different; if none is, their order is.
func changedRoutes(before, after []config.Route) []string {
	held := map[string]config.Route{}
	for _, r := range before {
		held[r.Name] = r
	}
	var changed []string
	for _, r := range after {
		if was, ok := held[r.Name]; !ok || !reflect.DeepEqual(was, r) {
			changed = append(changed, "routes."+r.Name)
		}
		delete(held, r.Name)
	}
	for name := range held {
		changed = append(changed, "routes."+name)
	}
	if len(changed) == 0 || len(changed) > mostSections {
		return []string{"routes"}
	}
	return changed
}
