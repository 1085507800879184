package artefact

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"strings"
	"syscall"
	"testing"

	"bramble/bus/bustest"
	"bramble/fault"
	"bramble/host"
)

// rogue is a machine whose porters do what they like: an account may have a debugger on its own processes.
type rogue struct{ act func(*socket) }

func (r rogue) Start(c host.Command) (host.Process, error) {
	fd, err := syscall.Dup(int(c.Stdin.Fd()))
	if err != nil {
		return nil, err
	}
	s, err := openSocket(os.NewFile(uintptr(fd), "stdin"))
	if err != nil {
		return nil, err
	}
	p := &rogueProcess{ended: make(chan struct{})}
	go func() {
		defer close(p.ended)
		defer s.Close()
		var o order
		s.recv(&o)
		r.act(s)
	}()
	return p, nil
}

type rogueProcess struct {
	host.Process
	ended chan struct{}
}

func (p *rogueProcess) Signal(os.Signal) error { return nil }
func (p *rogueProcess) Kill() error            { return nil }
func (p *rogueProcess) Wait() host.Exit        { <-p.ended; return host.Exit{} }
func (rogue) AccountFor(string) string         { return "" }
func (rogue) Account(string) (host.Account, error) {
	return host.Account{}, errors.New("no accounts here")
}

func TestRoguePorter(t *testing.T) {
	store, err := OpenStore(t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	secret, _, err := store.Put(t.Context(), strings.NewReader("somebody else's"), "")
	if err != nil {
		t.Fatal(err)
	}
	m := Manifest{Entries: []Entry{{Path: "f", Mode: 0o644, Size: 1, Ref: RefOf([]byte("x"))}}}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	conn := bustest.Start(t).Node("n1")
	node := func(act func(*socket)) *Node {
		machine := rogue{act: act}
		return &Node{Conn: conn, Store: store, Host: machine, Accounts: machine, Log: slog.New(slog.DiscardHandler)}
	}

	var got *os.File
	err = node(func(s *socket) { got, _, _ = s.want(secret) }).lay(t.Context(), fetchTask{}, m, func(int64) {})
	if err == nil || got != nil || !strings.Contains(err.Error(), "not in its tree") {
		t.Errorf("a blob of another tree: %v, %v", got, err)
	}
	for name, act := range map[string]func(*socket){
		"goes":               func(*socket) {},
		"gives a file":       func(s *socket) { s.send(saying{Want: m.Entries[0].Ref}, r) },
		"says nothing":       func(s *socket) { s.send(saying{}, nil) },
		"speaks no JSON":     func(s *socket) { s.packet(0, []byte("{"), nil) },
		"sends empty packet": func(s *socket) { s.conn.Write(nil) },
	} {
		if err := node(act).lay(t.Context(), fetchTask{}, m, func(int64) {}); err == nil {
			t.Errorf("a porter that %s: no error", name)
		}
	}

	tree := saying{Result: &result{Tree: &m}}
	read := func(act func(*socket)) (f *os.File, err error) {
		err = node(act).collect(t.Context(), readTask{}, func(_ Manifest, _ []Skipped, files Opener) error {
			var err error
			f, _, err = files.Open(m.Entries[0].Ref)
			return err
		})
		return f, err
	}
	if f, err := read(func(s *socket) { s.send(tree, nil); s.recv(&saying{}); s.send(saying{Size: 1}, r) }); f != nil || err == nil || !strings.Contains(err.Error(), "plain file") {
		t.Errorf("a pipe for a file: %v, %v", f, err)
	}
	up := Manifest{Entries: []Entry{{Path: "../up", Mode: 0o644, Ref: RefOf(nil)}}}
	for name, act := range map[string]func(*socket){
		"names a place outside": func(s *socket) { s.send(saying{Result: &result{Tree: &up}}, nil) },
		"has no tree":           func(s *socket) { s.send(saying{Result: &result{}}, nil) },
		"has no file":           func(s *socket) { s.send(tree, nil); s.recv(&saying{}); s.send(saying{Size: 1}, nil) },
		"goes then":             func(s *socket) { s.send(tree, nil) },
	} {
		if f, err := read(act); f != nil || err == nil {
			t.Errorf("a porter that %s: %v, %v", name, f, err)
		}
	}
}

func TestSocket(t *testing.T) {
	near, far, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	other, err := openSocket(far)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Open("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	long := saying{Fault: fault.New(fault.Failed, "%s", strings.Repeat("ü", 100_000))}
	sent := make(chan error, 3)
	go func() {
		sent <- near.send(long, file)
		sent <- near.send(saying{Want: "x"}, nil)
		sent <- near.Close()
	}()
	var a, b, c saying
	f, err := other.recv(&a)
	if err != nil || a.Fault.Text != long.Fault.Text || f == nil {
		t.Fatalf("%d characters, %v, %v", len(a.Fault.Text), f, err)
	}
	if text, err := io.ReadAll(f); len(text) == 0 || err != nil {
		t.Errorf("the file: %q, %v", text, err)
	}
	f.Close()
	if f, err := other.recv(&b); err != nil || b.Want != "x" || f != nil {
		t.Errorf("%+v, %v, %v", b, f, err)
	}
	if _, err := other.recv(&c); !errors.Is(err, io.EOF) {
		t.Errorf("after the end: %v", err)
	}
	for range 3 {
		if err := <-sent; err != nil {
			t.Error(err)
		}
	}
}
