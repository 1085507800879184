package web_test

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// browser is a headless Chromium, driven over its DevTools protocol by a pipe: messages are JSON
// that end with a zero byte. See https://chromedevtools.github.io/devtools-protocol/.
type browser struct {
	t  testing.TB
	to io.WriteCloser

	mu      sync.Mutex
	next    int
	waiting map[int]chan answer
	heard   func(method string, params json.RawMessage)
}

type answer struct {
	ID     int             `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error"`
}

// startBrowser starts a Chromium that ends with the test.
func startBrowser(t testing.TB) *browser {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		if path, err = exec.LookPath("google-chrome"); err != nil {
			t.Fatal("the browser test needs Chromium: apt install chromium")
		}
	}
	dir := t.TempDir()
	fromUs, toBrowser, _ := os.Pipe()
	fromBrowser, toUs, _ := os.Pipe()
	cmd := exec.Command(path, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
		"--disable-default-apps", "--no-proxy-server", "--password-store=basic", "--hide-scrollbars",
		"--remote-debugging-pipe", "--user-data-dir="+filepath.Join(dir, "data"), "about:blank")
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_CONFIG_HOME="+dir, "XDG_CACHE_HOME="+dir)
	cmd.ExtraFiles = []*os.File{fromUs, toUs}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	fromUs.Close()
	toUs.Close()
	b := &browser{t: t, to: toBrowser, waiting: map[int]chan answer{}}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		b.read(fromBrowser)
	}()
	t.Cleanup(func() {
		b.send("", "Browser.close", nil)
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			cmd.Process.Kill()
		}
		toBrowser.Close()
		cmd.Wait()
		<-ended
		fromBrowser.Close()
	})
	return b
}

func (b *browser) read(from io.Reader) {
	in := bufio.NewReader(from)
	for {
		text, err := in.ReadBytes(0)
		if err != nil {
			b.mu.Lock()
			defer b.mu.Unlock()
			for id, wait := range b.waiting {
				close(wait)
				delete(b.waiting, id)
			}
			return
		}
		var a answer
		json.Unmarshal(text[:len(text)-1], &a)
		b.mu.Lock()
		wait, heard := b.waiting[a.ID], b.heard
		delete(b.waiting, a.ID)
		b.mu.Unlock()
		switch {
		case wait != nil:
			wait <- a
		case heard != nil:
			heard(a.Method, a.Params)
		}
	}
}

func (b *browser) send(session, method string, params any) chan answer {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.next++
	wait := make(chan answer, 1)
	b.waiting[b.next] = wait
	message := map[string]any{"id": b.next, "method": method}
	if params != nil {
		message["params"] = params
	}
	if session != "" {
		message["sessionId"] = session
	}
	text, _ := json.Marshal(message)
	b.to.Write(append(text, 0))
	return wait
}

func (b *browser) call(session, method string, params, result any) {
	b.t.Helper()
	if err := b.ask(session, method, params, result); err != nil {
		b.t.Fatal(err)
	}
}

func (b *browser) ask(session, method string, params, result any) error {
	select {
	case a, ok := <-b.send(session, method, params):
		switch {
		case !ok:
			return fmt.Errorf("%s: the browser has gone", method)
		case a.Error != nil:
			return fmt.Errorf("%s: %s", method, a.Error.Message)
		case result == nil:
			return nil
		}
		return json.Unmarshal(a.Result, result)
	case <-time.After(30 * time.Second):
		return fmt.Errorf("%s: no answer", method)
	}
}

// tab is an open page, and what it said and asked for.
type tab struct {
	*browser
	session string

	mu       sync.Mutex
	problems []string
	foreign  []string // addresses asked for that are not loopback
}

func (b *browser) tab() *tab {
	b.t.Helper()
	var target struct{ TargetID string }
	b.call("", "Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var attached struct{ SessionID string }
	b.call("", "Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	t := &tab{browser: b, session: attached.SessionID}
	b.mu.Lock()
	b.heard = t.event
	b.mu.Unlock()
	for _, domain := range []string{"Page", "Runtime", "Log", "Network"} {
		b.call(t.session, domain+".enable", nil, nil)
	}
	return t
}

func (t *tab) event(method string, params json.RawMessage) {
	var p struct {
		Type    string
		Request struct{ URL string }
		Entry   struct{ Level, Text, URL string }
	}
	json.Unmarshal(params, &p)
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case method == "Runtime.exceptionThrown", method == "Runtime.consoleAPICalled" && p.Type != "log",
		method == "Log.entryAdded" && p.Entry.Level == "error":
		t.problems = append(t.problems, string(params))
	case method == "Network.requestWillBeSent":
		if u, err := url.Parse(p.Request.URL); err == nil && u.Hostname() != "127.0.0.1" && u.Scheme != "data" {
			t.foreign = append(t.foreign, p.Request.URL)
		}
	}
}

func (t *tab) goTo(address string) {
	t.t.Helper()
	t.call(t.session, "Page.navigate", map[string]any{"url": address}, nil)
}

// eval evaluates an expression and reads its value.
func (t *tab) eval(expression string, value any) {
	t.t.Helper()
	if err := t.try(expression, value); err != nil {
		t.t.Fatal(err)
	}
}

func (t *tab) try(expression string, value any) error {
	var result struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails json.RawMessage
	}
	err := t.ask(t.session, "Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true, "awaitPromise": true}, &result)
	switch {
	case err != nil:
		return err
	case result.ExceptionDetails != nil:
		return fmt.Errorf("%s: %s", expression, result.ExceptionDetails)
	case value == nil || result.Result.Value == nil:
		return nil
	}
	return json.Unmarshal(result.Result.Value, value)
}

// sees waits until an expression is true; it may fail meanwhile, as while a page loads.
func (t *tab) sees(expression string) {
	t.t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		var ok bool
		if err := t.try("!!("+expression+")", &ok); err == nil && ok {
			return
		}
		if time.Now().After(end) {
			var body string
			t.eval("location.href + '\\n' + document.body.innerText", &body)
			t.t.Fatalf("never: %s, on\n%s", expression, body)
		}
	}
}

// press types a key, such as Tab.
func (t *tab) press(key string) {
	t.t.Helper()
	codes := map[string]int{"Tab": 9, "Enter": 13, "ArrowRight": 39}
	p := map[string]any{"type": "keyDown", "key": key, "code": key, "windowsVirtualKeyCode": codes[key]}
	if key == "Enter" {
		p["text"] = "\r"
	}
	t.call(t.session, "Input.dispatchKeyEvent", p, nil)
	p["type"] = "keyUp"
	t.call(t.session, "Input.dispatchKeyEvent", p, nil)
}

// look sets the window's width and the colours that the person prefers.
func (t *tab) look(width, height int, scheme string) {
	t.t.Helper()
	t.call(t.session, "Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}, nil)
	t.call(t.session, "Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}}}, nil)
}

// shoot writes a picture of the window.
func (t *tab) shoot(path string) {
	t.t.Helper()
	var shot struct{ Data string }
	t.call(t.session, "Page.captureScreenshot", map[string]any{"format": "png"}, &shot)
	data, err := base64.StdEncoding.DecodeString(shot.Data)
	if err != nil {
		t.t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.t.Fatal(err)
	}
}

// clean reports what went wrong on the tab's pages.
func (t *tab) clean() {
	t.t.Helper()
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.problems) > 0 {
		t.t.Errorf("the browser complains: %s", strings.Join(t.problems, "\n"))
	}
	if len(t.foreign) > 0 {
		t.t.Errorf("pages asked elsewhere: %s", t.foreign)
	}
}
