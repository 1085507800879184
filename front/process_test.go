package front

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"bramble/front/visitor"
)

// process is a front's process, in this one.
type process struct {
	t     *testing.T
	dir   string
	end   context.CancelFunc
	ended chan error
}

// begin starts one over a folder and waits until it answers.
func begin(t *testing.T, dir, version string) *process {
	t.Helper()
	ctx, end := context.WithCancel(t.Context())
	p := &process{t: t, dir: dir, end: end, ended: make(chan error, 1)}
	go func() { p.ended <- (&Process{Dir: dir, Version: version, Log: quiet}).Run(ctx) }()
	t.Cleanup(func() { end(); p.over() })
	eventually(t, "the process answers", func() bool {
		answer, _, err := talk(dir, asked{Do: "look"})
		return err == nil && answer.Version == version
	})
	return p
}

// over waits until it has ended.
func (p *process) over() {
	p.t.Helper()
	select {
	case err, ok := <-p.ended:
		if ok {
			close(p.ended)
		}
		if err != nil {
			p.t.Error(err)
		}
	case <-time.After(patience):
		p.t.Error("the process does not end")
	}
}

// wish has the process of a folder do something.
func wish(t *testing.T, dir string, list ...Order) map[string]Carried {
	t.Helper()
	answer, _, err := talk(dir, asked{Do: "set", Orders: list})
	if err != nil {
		t.Fatal(err)
	}
	return answer.Fronts
}

// anyPort is an order on a port that is free now.
func anyPort(t *testing.T, name string, spec Spec) Order {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return ordered(Front{Name: name, Doors: Doors{Plain: []string{l.Addr().String()}}}, spec, nil)
}

// A process that takes over goes on with the same ports: nobody's request is lost, and who was connected has one more answer from
// the old one.
func TestProcessTakesOver(t *testing.T) {
	dir := t.TempDir()
	b := newBackend(t, "b", nil)
	first := begin(t, dir, "1")
	o := anyPort(t, "front", pool(b.Member))
	if err := writeOrders(dir, orders{Fronts: []Order{o}}); err != nil {
		t.Fatal(err)
	}
	at := wish(t, dir, o)["front"].Plain
	if len(at) != 1 || at[0] != o.Doors.Plain[0] {
		t.Fatalf("it listens on %v", at)
	}
	crowd := &visitor.Crowd{At: at[0], Path: "/", Many: 8, Right: func(body []byte) bool { return strings.HasPrefix(string(body), "b") }}
	crowd.Begin(t.Context())
	more := func(n int64) {
		t.Helper()
		from := crowd.Answers()
		eventually(t, "visitors are answered", func() bool { return crowd.Answers() >= from+n || crowd.Failed() > 0 })
	}
	more(200)
	idle, err := net.Dial("tcp", at[0])
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	for version := 2; version <= 5; version++ {
		next := begin(t, dir, fmt.Sprint(version))
		if version == 2 {
			if res := exchange(t, idle); !res.Close {
				t.Error("who was connected before is not sent away")
			}
		}
		first.over()
		first = next
		more(200)
	}
	if err := crowd.End(); err != nil {
		t.Errorf("%d requests failed: %v", crowd.Failed(), err)
	}
}

// exchange asks over a connection once.
func exchange(t *testing.T, conn net.Conn) *http.Response {
	t.Helper()
	conn.SetDeadline(time.Now().Add(patience))
	if _, err := fmt.Fprint(conn, get); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// Fronts come, change and go in a process: a port is opened or closed for each, and what is wrong with one is said of that one.
func TestProcessSets(t *testing.T) {
	dir := t.TempDir()
	b := newBackend(t, "b", nil)
	begin(t, dir, "1")
	one, two := anyPort(t, "one", pool(b.Member)), anyPort(t, "two", pool(b.Member))
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	three := ordered(Front{Name: "three", Doors: Doors{Plain: []string{taken.Addr().String(), one.Doors.Plain[0]}}}, pool(b.Member), nil)
	got := wish(t, dir, one, two, three)
	if got["one"].Error+got["two"].Error != "" || !strings.Contains(got["three"].Error, "is taken here") || len(got["three"].Plain) != 0 {
		t.Errorf("got %+v", got)
	}
	reach := func(o Order) bool {
		conn, err := net.Dial("tcp", o.Doors.Plain[0])
		if err != nil {
			return false
		}
		conn.Close()
		return true
	}
	if !reach(one) || !reach(two) {
		t.Error("a port is not open")
	}
	got = wish(t, dir, two)
	if len(got) != 1 {
		t.Errorf("%d fronts are left", len(got))
	}
	eventually(t, "its port is closed", func() bool { return !reach(one) })
	if !reach(two) {
		t.Error("the port of the other one is closed")
	}
	logged := two
	logged.Doors.Log, logged.Rev = true, "logged"
	if got = wish(t, dir, logged); got["two"].Error != "" || !reach(two) {
		t.Errorf("got %+v", got)
	}
	eventually(t, "requests are noted", func() bool { // the first ones may still be the old server's
		conn, err := net.Dial("tcp", two.Doors.Plain[0])
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		exchange(t, conn)
		text, _ := os.ReadFile(dir + "/log/two")
		return strings.Contains(string(text), `"GET / HTTP/1.1" 200`)
	})
}

// What a process is asked has limits, and nonsense does not end it.
func TestProcessHearsNonsense(t *testing.T) {
	dir := t.TempDir()
	begin(t, dir, "1")
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder is %v, %v", info.Mode(), err)
	}
	for _, text := range []string{"", "\n", "{", "{}\n", `{"do":"what"}` + "\n", `{"do":7}` + "\n"} {
		conn, err := net.Dial("unix", socketIn(dir))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(conn, text)
		conn.(*net.UnixConn).CloseWrite()
		conn.Close()
	}
	if _, _, err := talk(dir, asked{Do: "look"}); err != nil {
		t.Error(err)
	}
}

// Whoever is asked and ends without a word is an error.
func TestProcessEndsMidway(t *testing.T) {
	dir := t.TempDir()
	l, err := listenControl(socketIn(dir))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			io.ReadFull(conn, make([]byte, 1)) // what is left unread resets the connection
			conn.Close()
		}
	}()
	for range 20 {
		if _, _, err := talk(dir, asked{Do: "look"}); err == nil {
			t.Error("it is taken for an answer")
		}
	}
}

// A node has a process do what is wanted: one is started where there is none, anew when it was killed, and one of another version is
// replaced; without fronts there is none.
func TestNodeSupervises(t *testing.T) {
	dir := t.TempDir()
	b := newBackend(t, "b", nil)
	o := anyPort(t, "front", pool(b.Member))
	var mu sync.Mutex
	var last *process
	launched := 0
	start := func(version string) *Node {
		n := NewNode(&Node{Dir: dir, Version: version, Log: quiet})
		n.Launch = func() (*os.Process, error) {
			mu.Lock()
			defer mu.Unlock()
			launched++
			ctx, end := context.WithCancel(t.Context())
			p := &process{t: t, dir: dir, end: end, ended: make(chan error, 1)}
			go func() { p.ended <- (&Process{Dir: dir, Version: version, Log: quiet}).Run(ctx) }()
			t.Cleanup(func() { end(); p.over() })
			last = p
			return nil, nil
		}
		return n
	}
	supervise := func(n *Node) (stop func()) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- n.Supervise(ctx) }()
		return func() { cancel(); <-done }
	}
	carried := func(version string) bool {
		answer, _, err := talk(dir, asked{Do: "look"})
		return err == nil && answer.Version == version && answer.Fronts["front"].Rev == o.Rev
	}
	if err := writeOrders(dir, orders{Fronts: []Order{o}}); err != nil {
		t.Fatal(err)
	}
	stop := supervise(start("1"))
	eventually(t, "what is on the disk is carried", func() bool { return carried("1") })
	mu.Lock()
	first := last
	mu.Unlock()
	first.end()
	first.over()
	eventually(t, "another process is started", func() bool { return carried("1") })
	stop()
	if !carried("1") {
		t.Error("the process has ended with its agent")
	}
	n := start("2")
	stop = supervise(n)
	defer func() { stop() }()
	eventually(t, "the process is replaced", func() bool { return carried("2") })
	n.mu.Lock()
	n.wanted = nil
	n.mu.Unlock()
	n.wake()
	eventually(t, "there is no process without fronts", func() bool { _, _, err := talk(dir, asked{Do: "look"}); return err != nil })
	mu.Lock()
	defer mu.Unlock()
	if launched != 3 {
		t.Errorf("%d processes were started", launched)
	}
}
