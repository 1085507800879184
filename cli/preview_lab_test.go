package cli_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"net/http/cookiejar"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"bramble/artefact"
	"bramble/lab"
	"bramble/lab/labtest"
	"bramble/web"
)

// watcher is a command whose words are read while it runs.
type watcher struct {
	cmd   *exec.Cmd
	ended chan struct{}
	mu    sync.Mutex
	text  bytes.Buffer
}

func (w *watcher) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(p)
}

func (w *watcher) said() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// preview starts a preview of a folder, which ends with the test.
func preview(t *testing.T, l *labtest.Lab, dir, name string) *watcher {
	t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), 3*labtest.Patience)
	w := &watcher{cmd: exec.CommandContext(ctx, labtest.Binary(t), "site", "preview", dir, "--name", name), ended: make(chan struct{})}
	w.cmd.Env, w.cmd.Stdout, w.cmd.Stderr = append(os.Environ(), "BRAMBLE_CLUSTER="+l.State), w, w
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { defer close(w.ended); w.cmd.Wait() }()
	t.Cleanup(func() { stop(); <-w.ended })
	return w
}

// until waits until a preview has said something so many times.
func (w *watcher) until(t *testing.T, words string, times int) {
	t.Helper()
	labtest.Until(t, words, func() bool { return strings.Count(w.said(), words) >= times }, w.said)
}

var address = regexp.MustCompile(`https?://[^ ]+`)

// The head is killed under a preview: whoever shows it is told in plain words, and it goes on, with what was saved meanwhile,
// when the head is back. Nothing of it is held then, and a new one works beside it.
func TestPreviewOutlivesTheHead(t *testing.T) {
	l := labtest.Up(t, 1, labtest.Loopback)
	dir := t.TempDir()
	save := func(text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "index.html"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	save("first")
	shown := preview(t, l, dir, "draft")
	shown.until(t, "1 file", 1)
	viewer := signedIn(t, l)
	at := address.FindString(shown.said())
	if body := viewer(at); body != "first" {
		t.Errorf("shown is %q", body)
	}

	if err := l.Kill(t.Context(), lab.Head); err != nil {
		t.Fatal(err)
	}
	shown.until(t, "the head is away, and the preview with it\ntry: wait", 1)
	save("written while it was away")
	shown.until(t, "the head is away", 2)
	if err := l.Heal(t.Context(), lab.Head); err != nil {
		t.Fatal(err)
	}
	shown.until(t, "1 file", 2)
	if now := address.FindAllString(shown.said(), -1); now[len(now)-1] != at {
		t.Errorf("it was at %s and is at %s", at, now[len(now)-1])
	}
	viewer = signedIn(t, l)
	if body := viewer(at); body != "written while it was away" {
		t.Errorf("shown is %q\n%s", body, shown.said())
	}
	if text := shown.said(); strings.Contains(text, "nats") || strings.Count(text, "try: ") != strings.Count(text, "bramble: ") {
		t.Errorf("these are no plain words:\n%s", text)
	}

	another := preview(t, l, dir, "another")
	another.until(t, "1 file", 1)
	if body := viewer(address.FindString(another.said())); body != "written while it was away" {
		t.Errorf("a new preview shows %q", body)
	}
	for ev, err := range l.Connect().Durables().Stores(t.Context(), artefact.StoreRequest{On: "all", Task: artefact.StoreTask{Op: artefact.OpPins}}) {
		if err != nil || len(ev.Pins) > 0 {
			t.Errorf("%s holds %+v, %v", ev.Node, ev.Pins, err)
		}
	}
	for _, w := range []*watcher{shown, another} {
		if err := w.cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Error(err)
		}
		<-w.ended
		if code := w.cmd.ProcessState.ExitCode(); code != 130 {
			t.Errorf("it ends with %d\n%s", code, w.said())
		}
	}
	labtest.Until(t, "the preview to be shown no more", func() bool { return viewer(at) == "" })
}

// signedIn is somebody who is signed in to the dashboard, and gets the body of a page; "" of one that does not answer.
func signedIn(t *testing.T, l *labtest.Lab) (get func(url string) string) {
	t.Helper()
	jar, _ := cookiejar.New(nil)
	client := &http.Client{Jar: jar, Timeout: labtest.Patience, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, IdleConnTimeout: time.Second}}
	t.Cleanup(client.CloseIdleConnections)
	get = func(url string) string {
		resp, err := client.Get(url)
		if err != nil {
			return ""
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return string(body)
	}
	link, err := web.Client{Conn: l.Connect().Conn}.Link(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	get(link.URL)
	return get
}
