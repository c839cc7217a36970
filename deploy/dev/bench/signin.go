package main

import (
	"context"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
)

var (
	formTag   = regexp.MustCompile(`(?is)<form[^>]*>`)
	inputTag  = regexp.MustCompile(`(?is)<input[^>]*>`)
	attribute = regexp.MustCompile(`(?is)\b(action|name|value)="([^"]*)"`)
)

// maxForms is how many forms a sign-on may send: the password and the assertion,
// and one to spare.
const maxForms = 3

// signIn walks through a whole sign-on as a browser does, from the tool's address
// to its page, and returns the session's cookie, NAME=value.
func (s *stand) signIn(ctx context.Context, tool string) (string, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return "", fmt.Errorf("making a cookie jar: %w", err)
	}
	client := s.client()
	client.Jar = jar
	client.Transport.(*http.Transport).DisableKeepAlives = false //nolint:forcetypeassert // made by client
	defer client.CloseIdleConnections()
	req, err := navigation(ctx, http.MethodGet, tool, nil)
	if err != nil {
		return "", err
	}
	for range maxForms {
		res, err := client.Do(req)
		if err != nil {
			return "", fmt.Errorf("signing in: %w", err)
		}
		page, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != http.StatusOK {
			return "", fmt.Errorf("signing in: %s answers %d: %s", res.Request.URL, res.StatusCode, page)
		}
		at := res.Request.URL
		if at.Host == req.URL.Host && !strings.Contains(string(page), "<form") {
			return cookieOf(jar, at)
		}
		if req, err = fill(ctx, at, string(page)); err != nil {
			// The page of the tool itself has no form.
			return cookieOf(jar, at)
		}
	}
	return "", errors.New("signing in: one form after the other")
}

func cookieOf(jar *cookiejar.Jar, at *url.URL) (string, error) {
	for _, c := range jar.Cookies(at) {
		if c.Name == "__Host-sallyport" {
			return c.Name + "=" + c.Value, nil
		}
	}
	return "", fmt.Errorf("signing in: no session at %s", at)
}

// fill is the form of a page, filled in and sent.
func fill(ctx context.Context, at *url.URL, page string) (*http.Request, error) {
	form := formTag.FindString(page)
	if form == "" {
		return nil, errors.New("no form")
	}
	action, err := at.Parse(attributesOf(form)["action"])
	if err != nil {
		return nil, fmt.Errorf("reading a form: %w", err)
	}
	values := url.Values{}
	for _, input := range inputTag.FindAllString(page, -1) {
		if a := attributesOf(input); a["name"] != "" {
			values.Set(a["name"], a["value"])
		}
	}
	if values.Has("password") {
		values.Set("username", "alice")
		values.Set("password", "alice-pw")
	}
	return navigation(ctx, http.MethodPost, action.String(), strings.NewReader(values.Encode()))
}

func attributesOf(tag string) map[string]string {
	found := map[string]string{}
	for _, m := range attribute.FindAllStringSubmatch(tag, -1) {
		found[strings.ToLower(m[1])] = html.UnescapeString(m[2])
	}
	return found
}

// navigation is a request as a browser makes it for a page.
func navigation(ctx context.Context, method, address string, body io.Reader) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		return nil, fmt.Errorf("making a request: %w", err)
	}
	req.Header.Set("Accept", "text/html")
	req.Header.Set("Sec-Fetch-Mode", "navigate")
	req.Header.Set("Sec-Fetch-Dest", "document")
	if body != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return req, nil
}
