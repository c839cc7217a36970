package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

// browser is one Chromium, which many people use, each with cookies of their own.
type browser struct {
	ctx   context.Context
	close func()
}

// startBrowser starts Chromium with a home folder in which only caFiles were added
// to the trusted certificates. Nothing about certificates is ignored.
func startBrowser(program, home string, caFiles ...string) (*browser, error) {
	return startBrowserWith(program, home, caFiles, chromedp.Flag("disable-quic", true))
}

// startBrowserWith is startBrowser with more options.
func startBrowserWith(program, home string, caFiles []string, more ...chromedp.ExecAllocatorOption) (*browser, error) {
	if err := trust(home, caFiles); err != nil {
		return nil, err
	}
	options := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(program),
		chromedp.Env("HOME=" + home),
		chromedp.UserDataDir(filepath.Join(home, "profile")),
		chromedp.WindowSize(1280, 860),
		chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun, chromedp.NoDefaultBrowserCheck,

		chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true),
		chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.Flag("lang", "en-US"),
	}
	allocator, closeAllocator := chromedp.NewExecAllocator(context.Background(), append(options, more...)...)
	ctx, closeBrowser := chromedp.NewContext(allocator)
	b := &browser{ctx: ctx, close: func() { closeBrowser(); closeAllocator() }}
	if err := chromedp.Do(ctx); err != nil {
		b.close()
		return nil, fmt.Errorf("starting Chromium: %w", err)
	}
	return b, nil
}

// trust makes the certificate database that Chromium reads, with the CAs in it.
func trust(home string, caFiles []string) error {
	db := filepath.Join(home, ".pki", "nssdb")
	if err := os.MkdirAll(db, 0o700); err != nil {
		return fmt.Errorf("making the certificate database: %w", err)
	}
	calls := [][]string{{"-N", "--empty-password"}}
	for _, file := range caFiles {
		calls = append(calls, []string{"-A", "-t", "C,,", "-n", file, "-i", file})
	}
	for _, args := range calls {
		out, err := exec.Command("certutil", append(args, "-d", "sql:"+db)...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("running certutil %s: %w: %s", args[0], err, out)
		}
	}
	return nil
}

// person is somebody with a browser profile of their own.
type person struct {
	t   *testing.T
	ctx context.Context
}

// personTime is how long a test may keep one person busy.
const personTime = 90 * time.Second

// newPerson opens an empty tab with no cookies. It is closed with the test.
func newPerson(t *testing.T) *person {
	t.Helper()
	return newTab(shared.browser.ctx, t, chromedp.WithNewBrowserContext())
}

func newTab(parent context.Context, t *testing.T, options ...chromedp.ContextOption) *person {
	t.Helper()
	ctx, closeTab := chromedp.NewContext(parent, options...)
	t.Cleanup(closeTab)
	if err := chromedp.Do(ctx); err != nil { // the tab lives as long as this ctx
		t.Fatalf("opening a tab: %v", err)
	}
	ctx, cancel := context.WithTimeout(ctx, personTime)
	t.Cleanup(cancel)
	return &person{t: t, ctx: ctx}
}

// tab opens a second tab of the same person.
func (p *person) tab() *person {
	p.t.Helper()
	return newTab(p.ctx, p.t)
}

func (p *person) do(steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	if err := chromedp.Do(p.ctx, steps...); err != nil {
		p.t.Fatalf("in the browser: %v", err)
	}
}

// ask runs an action and returns what it comes to.
func ask[T any](p *person, action chromedp.Action[T]) T {
	p.t.Helper()
	answer, err := chromedp.Run(p.ctx, action)
	if err != nil {
		p.t.Fatalf("in the browser: %v", err)
	}
	return answer
}

// click presses the first element that matches.
func (p *person) click(selector chromedp.CSS) {
	p.t.Helper()
	p.do(chromedp.Click(selector))
}

// fill types into a form's field.
func (p *person) fill(selector chromedp.CSS, text string) {
	p.t.Helper()
	p.do(chromedp.SetValue(selector, text))
}

// open navigates and waits until some page has loaded.
func (p *person) open(address string) {
	p.t.Helper()
	p.do(chromedp.Navigate(address))
}

// at waits until the tab shows exactly this address, fully loaded.
func (p *person) at(address string) {
	p.t.Helper()
	p.arrive(func(now string) bool { return now == address }, address)
}

// atPrefix is at for an address of which only the beginning is known.
func (p *person) atPrefix(prefix string) {
	p.t.Helper()
	p.arrive(func(now string) bool { return strings.HasPrefix(now, prefix) }, prefix+"…")
}

func (p *person) arrive(is func(string) bool, want string) {
	p.t.Helper()
	eventually(p.t, "the browser to show "+want, 20*time.Second, func() error {
		// While a page unloads there is nothing to ask; that passes.
		now, err := chromedp.Run(p.ctx, chromedp.Evaluate[[]string]("[location.href, document.readyState]"))
		if err != nil {
			return err
		}
		if !is(now[0]) || now[1] != "complete" {
			return fmt.Errorf("it shows %s (%s)", now[0], now[1])
		}
		return nil
	})
}

// signIn fills in the identity provider's page, which must be shown already.
func (p *person) signIn(name, password string) {
	p.t.Helper()
	p.signInAt(shared.demo.idp(), name, password)
}

// signInAt is signIn at an identity provider that is not the demo's.
func (p *person) signInAt(origin, name, password string) {
	p.t.Helper()
	p.atPrefix(origin + "/login")
	p.fill("#username", name)
	p.fill("#password", password)
	p.click("button[type=submit]")
}

// signedIn returns a person who is at address, signed in as user.
func signedIn(t *testing.T, user, address string) *person {
	t.Helper()
	p := newPerson(t)
	p.open(address)
	p.signIn(user, user+"-pw")
	p.at(address)
	return p
}

// text returns the visible text of the page.
func (p *person) text() string {
	p.t.Helper()
	return ask(p, chromedp.Evaluate[string](`document.body?.innerText ?? ""`))
}

// sees fails unless the page shows each text, sooner or later.
func (p *person) sees(texts ...string) {
	p.t.Helper()
	eventually(p.t, fmt.Sprintf("the page to show %q", texts), 10*time.Second, func() error {
		text := p.text()
		for _, want := range texts {
			if !strings.Contains(text, want) {
				return fmt.Errorf("%q is not in:\n%s", want, text)
			}
		}
		return nil
	})
}

// fetched is what a script in the page got.
type fetched struct {
	Status int    `json:"status"`
	Type   string `json:"type"`
	Body   string `json:"body"`
}

// fetch asks for path in the background, as a page's script does.
func (p *person) fetch(path string) fetched {
	p.t.Helper()
	script := fmt.Sprintf(`fetch(%q).then(async r => ({status: r.status, type: r.headers.get("content-type"), body: await r.text()}))`, path)
	return ask(p, chromedp.Evaluate[fetched](script, chromedp.EvalAwaitPromise))
}

// cookies returns the cookies that the browser would send to address.
func (p *person) cookies(address string) []*http.Cookie {
	p.t.Helper()
	all := ask(p, func(ctx context.Context, t *chromedp.Target) (network.GetCookiesResult, error) {
		return cdp.Call(ctx, t, network.GetCookies, network.GetCookiesParams{URLs: []string{address}})
	})
	var cookies []*http.Cookie
	for _, c := range all.Cookies {
		cookies = append(cookies, &http.Cookie{Name: c.Name, Value: c.Value})
	}
	if len(cookies) == 0 {
		p.t.Fatalf("the browser has no cookie for %s", address)
	}
	return cookies
}

// picture saves the page as NAME.png if DEMO_SCREENSHOTS names a folder.
func (p *person) picture(name string) {
	p.t.Helper()
	dir := os.Getenv("DEMO_SCREENSHOTS")
	if dir == "" {
		return
	}
	png := ask(p, chromedp.FullScreenshot(100))
	err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644))
	if err != nil {
		p.t.Fatal(err)
	}
}
