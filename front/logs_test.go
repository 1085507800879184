package front

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	"bramble/accesslog"
	"bramble/fault"
	"bramble/fleet"
	"bramble/trust"
)

// visitAt asks a front of the world once, at a path.
func visitAt(t *testing.T, at, path string) {
	t.Helper()
	conn := &web{t: t, addr: at}
	if res, _ := conn.ask("GET " + path + " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); res.StatusCode != http.StatusOK {
		t.Errorf("%s: %s", path, res.Status)
	}
}

// The log of a front is what all its nodes have noted, and what they note while somebody follows, also where nothing is kept. It goes
// on when a process of the front is replaced.
func TestLogInTheCluster(t *testing.T) {
	w := newWorld(t, "one", "two")
	b := newBackend(t, "b", nil)
	doors := map[string]string{"one": anyPort(t, "", Spec{}).Doors.Plain[0]}
	f := Front{Name: "front", On: "one", Doors: Doors{Plain: []string{doors["one"]}}, Servers: parsed("http://" + b.Address.String())}
	up := func() {
		t.Helper()
		if _, err := w.client().Up(t.Context(), f); err != nil {
			t.Fatal(err)
		}
		w.settled("it is up", func(s Status) bool { return len(s.Nodes) > 0 && len(s.Nodes[0].Plain) == 1 && s.Nodes[0].Current })
	}
	up()
	reader := w.client()
	read := func(req accesslog.Request) (text string, err error) {
		for l, err := range reader.Log(t.Context(), req) {
			if err == nil && l.Fault != nil {
				err = l.Fault
			}
			if err != nil {
				return text, err
			}
			for line := range strings.Lines(string(l.Text)) {
				text += l.Node + ": " + line
			}
		}
		return text, nil
	}
	if _, err := read(accesslog.Request{Name: "front", Lines: 10}); !fault.Is(err, fault.NotFound) || !strings.Contains(fault.Of(err).Try, "--log keeps them") {
		t.Errorf("a log that nobody keeps: %v, try %q", err, fault.Of(err).Try)
	}

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var mu sync.Mutex
	var seen string
	over := make(chan error, 1)
	go func() {
		var last error
		for l, err := range w.client().Log(ctx, accesslog.Request{Follow: true}) {
			mu.Lock()
			seen += string(l.Text)
			mu.Unlock()
			if last = err; l.Fault != nil {
				last = l.Fault
			}
		}
		over <- last
	}()
	follows := func(path string) {
		t.Helper()
		eventually(t, "who follows sees "+path, func() bool {
			visitAt(t, doors["one"], path)
			mu.Lock()
			defer mu.Unlock()
			return strings.Contains(seen, `"GET `+path+` HTTP/1.1" 200 `)
		})
	}
	follows("/first")
	if _, err := os.Stat(w.dir + "/one/log"); err == nil {
		t.Error("something is kept that nobody wanted")
	}
	next := begin(t, w.dir+"/one", "1")
	follows("/second")
	f.Doors.Log, f.Doors.JSON = true, true
	up()
	eventually(t, "who follows sees what a front of other settings notes", func() bool {
		visitAt(t, doors["one"], "/third")
		mu.Lock()
		defer mu.Unlock()
		return strings.Contains(seen, `"target":"/third"`)
	})
	for i := range 5 { // one after the other: what comes at once is noted in no order
		path := fmt.Sprintf("/n%d", i)
		visitAt(t, doors["one"], path)
		eventually(t, path+" is noted", func() bool {
			text, err := read(accesslog.Request{Name: "front", Lines: 1})
			return err == nil && strings.Contains(text, `"target":"`+path+`"`)
		})
	}
	text, err := read(accesslog.Request{Name: "front", Lines: 2})
	if lines := strings.Split(text, "\n"); err != nil || len(lines) != 3 || !strings.HasPrefix(lines[0], `one: {"time":`) ||
		!strings.Contains(lines[0], `"target":"/n3"`) || !strings.Contains(lines[1], `"target":"/n4"`) || !strings.Contains(lines[1], `"member":"`) {
		t.Errorf("the last two are\n%s%v", text, err)
	}
	for what, c := range map[string]struct {
		req  accesslog.Request
		code fault.Code
	}{
		"another node": {accesslog.Request{On: "two"}, fault.NotFound},
		"no front":     {accesslog.Request{Name: "nosuch", Follow: true}, fault.NotFound},
		"too many":     {accesslog.Request{Lines: accesslog.MaxLines + 1}, fault.Misused},
	} {
		if _, err := read(c.req); !fault.Is(err, c.code) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, err := range (Client{w.bus.Client("guest", trust.Viewer)}).Log(t.Context(), accesslog.Request{Lines: 1}) {
		if !fault.Is(err, fault.Denied) {
			t.Errorf("a viewer: %v", err)
		}
	}
	w.set(func() { w.nodes[0].State = fleet.Down })
	if _, err := read(accesslog.Request{Lines: 1}); !fault.Is(err, fault.Unreachable) {
		t.Errorf("a node that is down: %v", err)
	}
	w.set(func() { w.nodes[0].State = fleet.Up })
	if _, err := w.client().Down(t.Context(), "front"); err != nil {
		t.Fatal(err)
	}
	if err := <-over; !fault.Is(err, fault.NotFound) {
		t.Errorf("with the front the log ends by %v", err)
	}
	next.over()
}

// Who follows and goes leaves nothing behind, and as many as may follow do.
func TestFollowersGo(t *testing.T) {
	dir := t.TempDir()
	b := newBackend(t, "b", nil)
	begin(t, dir, "1")
	o := anyPort(t, "front", pool(b.Member))
	wish(t, dir, o)
	follow := accesslog.Request{Name: "front", Follow: true}
	ctx, leave := context.WithCancel(t.Context())
	var gone sync.WaitGroup
	var begun sync.WaitGroup
	for range accesslog.MaxFollowers {
		begun.Add(1)
		gone.Go(func() {
			once := sync.OnceFunc(begun.Done)
			passLog(ctx, dir, follow, func([]byte) error { once(); return nil })
		})
	}
	seen := make(chan struct{})
	go func() { begun.Wait(); close(seen) }()
	eventually(t, "all of them see a visit", func() bool {
		visitAt(t, o.Doors.Plain[0], "/")
		select {
		case <-seen:
			return true
		default:
			return false
		}
	})
	if _, err := passLog(t.Context(), dir, follow, func([]byte) error { return nil }); !fault.Is(err, fault.Full) {
		t.Errorf("one too many: %v", err)
	}
	leave()
	gone.Wait()
	eventually(t, "another one can follow", func() bool {
		conn, err := speak(socketIn(dir), asked{Do: "log", Log: follow})
		if err != nil {
			return false
		}
		defer conn.Close()
		line := make([]byte, 1<<10)
		n, err := conn.Read(line)
		return (err == nil || err == io.EOF) && !strings.Contains(string(line[:n]), "fault")
	})
}
