package front

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bramble/fault"
)

// alone has a front be looked after at a socket until end is called.
func alone(t *testing.T, w *web, socket string) (end func()) {
	t.Helper()
	at, err := net.ResolveTCPAddr("tcp", w.addr)
	if err != nil {
		t.Fatal(err)
	}
	a := &Alone{Server: w.s, Front: Front{Common: Pool{Sticky: "R"}}, Plain: []net.Addr{at}, TLS: []net.Addr{&net.TCPAddr{Port: 443}}, Log: quiet}
	if err := a.Listen(socket); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { a.Run(ctx); close(ended) }()
	end = func() { cancel(); <-ended }
	t.Cleanup(end)
	return end
}

// A front without a cluster says how it does and has members changed, at a socket that is its owner's alone, wherever that is. What was
// changed stays when names are looked up again.
func TestAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 30))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "shop.sock")
	a, b := newBackend(t, "a", nil), newBackend(t, "b", nil)
	w := serve(t, pool(a.Member, b.Member))
	local := Local{socket}
	if _, err := local.Status(t.Context(), ""); !fault.Is(err, fault.NotFound) {
		t.Errorf("before it is there: %v", err)
	}
	end := alone(t, w, socket)
	if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("beside the socket there is %v", left)
	}
	all, err := local.Status(t.Context(), "")
	if err != nil || len(all) != 1 || all[0].Front.Name != "shop" || all[0].Front.Common.Sticky != "R" || !all[0].Settled() {
		t.Fatalf("%+v, %v", all, err)
	}
	if got := all[0].Nodes[0].URLs(); len(got) != 2 || got[0] != "http://"+w.addr+"/" || got[1] != "https://localhost/" {
		t.Errorf("visitors come in at %v", got)
	}
	three, route := 3, "x"
	for _, c := range []Setting{{Mode: new(Draining)}, {Weight: &three}, {Route: &route}} {
		if st, err := local.Change(t.Context(), Change{Member: "a", Setting: c}); err != nil || st.Front.Changed["a"] == (Setting{}) {
			t.Errorf("%s: %+v, %v", c, st.Front, err)
		}
	}
	for _, again := range []bool{false, true} {
		if again {
			w.s.Set(pool(a.Member, b.Member))
		}
		st, err := Await(t.Context(), local, "", func(st Status) bool { return st.Busy("a") == 0 })
		if err != nil {
			t.Fatal(err)
		}
		if m := memberOf(st, "a"); m.Word() != "drained" || m.Weight != 3 || m.Route != "x" {
			t.Errorf("again %t: a is %+v", again, m)
		}
		for range 4 {
			if _, body := w.ask(get); !strings.HasPrefix(body, "b") {
				t.Errorf("again %t: %q answers", again, body)
			}
		}
	}
	if _, err := local.Change(t.Context(), Change{Member: "a", Setting: Setting{Mode: new(Enabled)}}); err != nil {
		t.Fatal(err)
	}
	w.until("a is asked again", func() bool { _, body := w.ask(get); return strings.HasPrefix(body, "a") })
	zero := 0
	for member, c := range map[string]Change{"unknown": {Member: "c", Setting: Setting{Weight: &three}}, "no weight": {Member: "a", Setting: Setting{Weight: &zero}}} {
		if _, err := local.Change(t.Context(), c); err == nil || fault.Of(err).Try == "" {
			t.Errorf("%s: %v", member, err)
		}
	}
	if answer, _, err := talkAt(socket, asked{Do: "take"}); err != nil || answer.Fault == nil {
		t.Errorf("who wants its ports gets %+v, %v", answer, err)
	}
	end()
	if _, err := local.Status(t.Context(), ""); !fault.Is(err, fault.NotFound) {
		t.Errorf("after its end: %v", err)
	}
}

// A socket is taken over from a front that has died, and from nobody else.
func TestAloneTakesNothing(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "front.sock")
	w := serve(t, pool(newBackend(t, "a", nil).Member))
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
	if _, err := (Local{socket}).Status(t.Context(), ""); !fault.Is(err, fault.Unreachable) {
		t.Errorf("of one that has died: %v", err)
	}
	alone(t, w, socket)
	if err := (&Alone{Server: w.s, Log: quiet}).Listen(socket); !fault.Is(err, fault.Conflict) {
		t.Errorf("a second one: %v", err)
	}
	if _, err := (Local{socket}).Status(t.Context(), ""); err != nil {
		t.Error(err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := (&Alone{Server: w.s, Log: quiet}).Listen(file); !fault.Is(err, fault.Conflict) {
		t.Errorf("a file: %v", err)
	}
	if text, err := os.ReadFile(file); string(text) != "mine" {
		t.Errorf("%q, %v", text, err)
	}
	if err := (&Alone{Server: w.s, Log: quiet}).Listen(filepath.Join(dir, "none", "s")); err == nil || fault.Of(err).Try == "" {
		t.Errorf("a folder that is not there: %v", err)
	}
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	conn.Write([]byte("nonsense\n"))
	conn.Close()
	begin(t, filepath.Join(dir, "node"), "1")
	if _, err := (Local{socketIn(filepath.Join(dir, "node"))}).Status(t.Context(), ""); !fault.Is(err, fault.Misused) {
		t.Errorf("of a cluster's front: %v", err)
	}
	if _, err := (Local{socket}).Status(t.Context(), ""); err != nil {
		t.Errorf("after nonsense: %v", err)
	}
}
