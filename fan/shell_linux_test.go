package fan_test

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"bramble/fan"
	"bramble/fault"
	"bramble/host"
)

// window is a person's end of a terminal.
type window struct {
	*testing.T
	keys  *io.PipeWriter
	sizes chan host.Size
	done  chan struct{}
	end   fan.End
	err   error

	mu      sync.Mutex
	picture strings.Builder
}

func (w *window) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.picture.Write(b)
}

func open(t *testing.T, ctx context.Context, c fan.Client, args ...string) *window {
	in, keys := io.Pipe()
	w := &window{T: t, keys: keys, sizes: make(chan host.Size), done: make(chan struct{})}
	go func() {
		defer close(w.done)
		w.end, w.err = c.Shell(ctx, fan.ShellRequest{Node: "n1", Args: args, Term: "xterm", Size: host.Size{Rows: 24, Cols: 80}}, in, w, w.sizes)
	}()
	t.Cleanup(func() { keys.Close() })
	return w
}

func (w *window) sees(text string) {
	w.Helper()
	until(w.T, "the screen shows "+text, func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return strings.Contains(w.picture.String(), text)
	})
}

func (w *window) types(text string) { io.WriteString(w.keys, text) }

func TestShell(t *testing.T) {
	r := realRig(t, "n1")
	w := open(t, t.Context(), r.client(), "/bin/sh", "-i")
	w.types("stty size; echo $TERM-$BRAMBLE_NODE\n")
	w.sees("24 80")
	w.sees("xterm-n1")
	w.sizes <- host.Size{Rows: 50, Cols: 132}
	w.types("while [ \"$(stty size)\" != '50 132' ]; do :; done; echo re''sized\n")
	w.sees("resized")
	w.types("sh -c 'echo sta''rted; exec sleep 300'\n")
	w.sees("started")
	w.types("\x03")
	w.types("echo still he''re\n")
	w.sees("still here")
	w.types("exit 7\n")
	<-w.done
	if w.err != nil || w.end.Exit.Code != 7 {
		t.Errorf("ended %+v, %v", w.end, w.err)
	}
}

func TestShellEndsThoughADaemonHoldsIt(t *testing.T) {
	r := realRig(t, "n1")
	w := open(t, t.Context(), r.client(), "/bin/sh", "-c", "trap '' HUP; setsid sleep 300 & echo $!; exit 3")
	<-w.done
	for _, pid := range pids(t, w.picture.String()) {
		defer func() {
			if p, err := os.FindProcess(pid); err == nil {
				p.Kill()
			}
		}()
	}
	if w.err != nil || w.end.Exit.Code != 3 {
		t.Errorf("ended %+v, %v", w.end, w.err)
	}
}

func TestShellHangsUp(t *testing.T) {
	for _, how := range []string{"cancelled", "client gone"} {
		t.Run(how, func(t *testing.T) {
			r := realRig(t, "n1")
			file := filepath.Join(t.TempDir(), "hup")
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			c := r.client()
			w := open(t, ctx, c, "/bin/sh", "-c", "trap 'echo hung up > "+file+"; exit 0' HUP; echo rea''dy; while :; do sleep 0.05; done")
			w.sees("ready")
			if how == "cancelled" {
				cancel()
			} else {
				go c.Conn.Close()
			}
			<-w.done
			if w.err == nil {
				t.Errorf("ended well: %+v", w.end)
			}
			until(t, "the shell hears that the terminal hung up", func() bool {
				text, _ := os.ReadFile(file)
				return string(text) == "hung up\n"
			})
		})
	}
}

func TestShellFlood(t *testing.T) {
	r := realRig(t, "n1")
	w := open(t, t.Context(), r.client(), "/bin/sh", "-c", "head -c 4000000 /dev/zero | tr '\\0' x; echo last")
	<-w.done
	if got := w.picture.String(); strings.Count(got, "x") != 4000000 || !strings.HasSuffix(got, "last\r\n") {
		t.Errorf("%d bytes, ended %+v, %v", len(got), w.end, w.err)
	}
}

func TestShellRefusals(t *testing.T) {
	r := simRig(t, "n1")
	for _, req := range []fan.ShellRequest{
		{Node: "n1", Args: []string{"a\x00"}},
		{Node: "n1", As: "root"},
		{Node: "n2"},
		{Node: "n1", Term: strings.Repeat("x", 300<<10)},
	} {
		_, err := r.client().Shell(t.Context(), req, strings.NewReader(""), io.Discard, nil)
		if err == nil || fault.Of(err).Code == fault.Failed {
			t.Errorf("%.60v: %v", req, err)
		}
	}
}
