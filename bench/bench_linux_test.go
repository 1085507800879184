package main

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"bramble/lab/labtest"
)

// TestMain is what parts start this program for, when they do.
func TestMain(m *testing.M) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if part, err := asPart(ctx, os.Args[1:]); part {
		if err != nil {
			panic(err)
		}
		return
	}
	os.Exit(m.Run())
}

// tiny measures everything that needs no building, in seconds.
func tiny(t *testing.T) options {
	if testing.Short() {
		t.Skip("short: it raises clusters; make test runs it")
	}
	disk, err := os.MkdirTemp(diskFolder(), "bench-test-") // in namespaces /tmp is the node's own
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(disk) })
	return options{exe: labtest.Binary(t), out: filepath.Join(t.TempDir(), "performance.md"), folder: disk, limit: 15 * time.Minute, slack: 4,
		labNodes: 3, spreadNodes: 3, spreadBytes: 8 << 20, storeBytes: 4 << 20, runs: 1, nodes: 20, commands: 5, tasks: 40, noops: 400, latency: 2, records: 64, outage: 400 * time.Millisecond}
}

func TestAll(t *testing.T) {
	var out, progress bytes.Buffer
	o := tiny(t)
	if err := run(t.Context(), o, &out, &progress); err != nil {
		t.Fatalf("%v\n%s", err, progress.String())
	}
	page, err := os.ReadFile(o.out)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), string(page)) {
		t.Error("the terminal does not show the page")
	}
	for _, want := range []string{"`bramble --help`", "one writer", "an array of 40", "largest RSS of a process that puts or gets", "the bound, ", "an array of 400", "last answer, p99", "the bare engine: ", "agent and keeper, RssAnon", "a head with 100 nodes"} {
		if !strings.Contains(string(page), want) {
			t.Errorf("no %q on the page", want)
		}
	}
	for _, want := range []string{"| `bramble run`", "| Slurm: ", "apache2 at its best", "memory with 1,000 connections", " by a bare chain", " by BitTorrent", " with direct return"} {
		if os.Geteuid() == 0 && !strings.Contains(string(page), want) {
			t.Errorf("no %q on the page", want)
		}
	}
	if t.Failed() {
		t.Logf("%s%s", progress.String(), page)
	}
	leavesNothing(t, o)
}

func TestInterruptedLeavesNothing(t *testing.T) {
	o := tiny(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	o.only = "swarm"
	err := run(ctx, o, &bytes.Buffer{}, writer(func(text string) {
		if strings.Contains(text, "joining") {
			cancel()
		}
	}))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(o.out); err == nil {
		t.Error("a page was written all the same")
	}
	leavesNothing(t, o)
}

type writer func(string)

func (w writer) Write(b []byte) (int, error) {
	w(string(b))
	return len(b), nil
}

func leavesNothing(t *testing.T, o options) {
	t.Helper()
	left, err := os.ReadDir(o.folder)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestCountSymbols(t *testing.T) {
	if testing.Short() {
		t.Skip("short: it builds a program; make test runs it")
	}
	dir := t.TempDir()
	files := map[string]string{"go.mod": "module example.org/greeter\n", "main.go": "package main\n\nimport \"fmt\"\n\n" +
		"var zeroed [1 << 24]byte\n\nfunc main() { fmt.Println(len(zeroed), zeroed[len(fmt.Sprint())]) }\n"}
	script, err := os.ReadFile("../scripts/build")
	if err != nil {
		t.Fatal(err)
	}
	files["scripts/build"] = string(script)
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	b := &bench{options: options{source: dir}, dir: t.TempDir()}
	size, err := b.build(t.Context(), [3]string{runtime.GOOS, runtime.GOARCH, ""}, "")
	if err != nil {
		t.Fatal(err)
	}
	binary, err := elf.Open(b.built())
	if err != nil {
		t.Fatal(err)
	}
	defer binary.Close()
	got, err := countSymbols(binary, []string{"example.org/greeter"})
	if err != nil {
		t.Fatal(err)
	}
	var sum int64
	for name, bytes := range got {
		if sum += bytes; bytes <= 0 {
			t.Errorf("%s costs %d", name, bytes)
		}
	}
	if sum > size || sum < size/3 || got[goOwn] < size/6 {
		t.Errorf("all together are %d of a file of %d: %v", sum, size, got)
	}
	if main := got["example.org/greeter"]; main > 0 { // the linker calls the package main, whatever its path
		t.Errorf("the program itself costs %d", main)
	}
}
