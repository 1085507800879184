package front_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"regexp"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bramble/front"
	"bramble/lab/labtest"
)

// A cable is pulled, a node is killed, and one hangs, each under load: no visitor notices but by a wait.
func TestFaultsUnderLoad(t *testing.T) {
	if testing.Short() {
		t.Skip("short: a lab takes seconds; make test runs it")
	}
	if os.Geteuid() != 0 {
		t.Skip("cutting a link needs root, for network namespaces; CI is root")
	}
	l := labtest.Up(t, 3)
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/index.html", []byte("hello\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	l.Must("site", "publish", dir, "--name", "a", "--on", "node[1-3]")
	var members []front.Member
	for i, at := range regexp.MustCompile(`http://([0-9.]+:\d+)`).FindAllStringSubmatch(l.Must("site", "status", "a"), -1) {
		members = append(members, front.Member{Name: fmt.Sprintf("node%d", i+1), Address: netip.MustParseAddrPort(at[1])})
	}
	if len(members) != 3 {
		t.Fatalf("the site is at %v", members)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &front.Server{Spec: front.Spec{Pools: []front.Pool{{Check: front.Check{Path: "/"}, Members: members}}}, Log: slog.New(slog.DiscardHandler)}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := s.Run(ctx, ln); err != nil {
			t.Error(err)
		}
	})
	defer running.Wait()
	defer stop()
	load := newLoad(ln.Addr().String(), 16)
	defer load.end(t)
	more := func() {
		t.Helper()
		before := load.answers.Load()
		labtest.Until(t, "500 more answers", func() bool { return load.answers.Load() >= before+500 })
	}
	down := func(i int) bool { return s.Standings()[0][i].Health.Down }
	more()
	for i, hurt := range []func(context.Context, string) error{l.Cut, l.Kill, l.Hang} {
		name := members[i].Name
		if err := hurt(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		labtest.Until(t, name+" to be down", func() bool { return down(i) })
		more()
		if err := l.Heal(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		labtest.Until(t, name+" to be back", func() bool { return !down(i) })
		more()
		t.Logf("%s: the worst answer took %s", name, time.Duration(load.worst.Swap(0)).Round(time.Millisecond))
	}
}

// load is visitors that ask again and again over kept connections.
type load struct {
	answers, worst atomic.Int64
	stop           context.CancelFunc
	running        sync.WaitGroup
	mu             sync.Mutex
	failed         []error
}

func newLoad(at string, visitors int) *load {
	ctx, stop := context.WithCancel(context.Background())
	l := &load{stop: stop}
	for range visitors {
		l.running.Go(func() {
			conn, err := net.Dial("tcp", at)
			if err != nil {
				l.fail(err)
				return
			}
			defer conn.Close()
			r := bufio.NewReader(conn)
			for ctx.Err() == nil {
				begun := time.Now()
				io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
				res, err := http.ReadResponse(r, nil)
				if err != nil {
					l.fail(err)
					return
				}
				body, err := io.ReadAll(res.Body)
				if err != nil || string(body) != "hello\n" {
					l.fail(fmt.Errorf("%s: %q, %v", res.Status, body, err))
				}
				l.answers.Add(1)
				for took := int64(time.Since(begun)); ; {
					worst := l.worst.Load()
					if took <= worst || l.worst.CompareAndSwap(worst, took) {
						break
					}
				}
			}
		})
	}
	return l
}

func (l *load) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed = append(l.failed, err)
}

func (l *load) end(t *testing.T) {
	t.Helper()
	l.stop()
	l.running.Wait()
	for _, err := range l.failed[:min(len(l.failed), 5)] {
		t.Error(err)
	}
	t.Logf("%d answers, %d failed", l.answers.Load(), len(l.failed))
}
