package keeper_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"bramble/keeper"
)

// TestMain is also the keeper process: `TEST.BINARY keeper SPOOL SOCKET`.
func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == "keeper" {
		runtime.MemProfileRate = 0 // as main does
		o := keeper.Options{Spool: os.Args[2], Socket: os.Args[3], Host: newHost(os.Args[2])}
		if err := keeper.Main(context.Background(), o, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// until waits for a condition; only a hang makes it fail.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("still waiting: %s", what)
		}
	}
}

// settled checks that the goroutines started since are gone again.
func settled(t testing.TB) (check func()) {
	before := runtime.NumGoroutine()
	return func() {
		t.Helper()
		until(t, "goroutines to end", func() bool { return runtime.NumGoroutine() <= before })
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// quiet is a logger into a buffer.
type quiet struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (q *quiet) Write(p []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.buf.Write(p)
}

func (q *quiet) String() string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.buf.String()
}

// local runs a keeper in process on a spool until stop.
func local(t testing.TB, spool string, log io.Writer) (k *keeper.Local, stop func()) {
	t.Helper()
	h := newHost(spool)
	k, err := keeper.Open(keeper.Options{Spool: spool, Host: h, Log: slog.New(slog.NewTextHandler(log, nil))})
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); k.Run(ctx) }()
	var once sync.Once
	stop = func() { once.Do(func() { cancel(); <-done; h.Close() }) }
	t.Cleanup(stop)
	return k, stop
}

// served is a client of a keeper in process.
func served(t testing.TB, spool string) (*keeper.Client, *keeper.Local) {
	t.Helper()
	k, _ := local(t, spool, io.Discard)
	socket := filepath.Join(spool, "sock")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- keeper.Serve(ctx, k, socket) }()
	t.Cleanup(func() { cancel(); must(t, <-done) })
	return dial(t, socket), k
}

func dial(t testing.TB, socket string) *keeper.Client {
	t.Helper()
	var c *keeper.Client
	until(t, "the socket to answer", func() (ok bool) {
		var err error
		c, err = keeper.Connect(context.Background(), socket)
		return err == nil
	})
	t.Cleanup(func() { c.Close() })
	return c
}

// sh is a task that runs a shell script.
func sh(id, script string) keeper.Task {
	return keeper.Task{ID: id, Args: []string{"/bin/sh", "-c", script}, Env: []string{"PATH=/usr/bin:/bin"}, Dir: "/"}
}

// collect waits until each of the IDs has ended and returns their statuses.
func collect(t testing.TB, k keeper.Keeper, ids ...string) map[string]keeper.Status {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	batches, err := k.Ended(ctx)
	must(t, err)
	found := map[string]keeper.Status{}
	missing := func() (left []string) {
		for _, id := range ids {
			if _, ok := found[id]; !ok {
				left = append(left, id)
			}
		}
		return left
	}
	for batch := range batches {
		for _, s := range batch {
			found[s.ID] = s
		}
		if len(missing()) == 0 {
			return found
		}
	}
	t.Fatalf("never ended: %s", strings.Join(missing(), " "))
	return nil
}

// run starts one task and waits for its end.
func run(t testing.TB, k keeper.Keeper, task keeper.Task) keeper.Status {
	t.Helper()
	must(t, k.Start(t.Context(), []keeper.Task{task}))
	return collect(t, k, task.ID)[task.ID]
}

// whole reads all of a task's output.
func whole(t testing.TB, k keeper.Keeper, id, stream string) []byte {
	t.Helper()
	var all []byte
	for {
		b, err := k.Output(t.Context(), id, stream, int64(len(all)), 3<<20)
		must(t, err)
		if len(b) == 0 {
			return all
		}
		all = append(all, b...)
	}
}

// each runs a test on the keeper itself and through its socket.
func each(t *testing.T, test func(t *testing.T, k keeper.Keeper, spool string)) {
	t.Run("local", func(t *testing.T) {
		spool := t.TempDir()
		k, _ := local(t, spool, io.Discard)
		test(t, k, spool)
	})
	t.Run("socket", func(t *testing.T) {
		spool := t.TempDir()
		c, _ := served(t, spool)
		test(t, c, spool)
	})
}
