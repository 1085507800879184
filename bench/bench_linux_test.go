package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bramble/lab/labtest"
)

// tiny measures everything that needs no building, in seconds.
func tiny(t *testing.T) options {
	if testing.Short() {
		t.Skip("short: it raises clusters; make test runs it")
	}
	return options{exe: labtest.Binary(t), out: filepath.Join(t.TempDir(), "performance.md"), folder: t.TempDir(), limit: 2 * time.Minute,
		labNodes: 3, runs: 1, nodes: 20, commands: 5, tasks: 40, latency: 2, records: 64}
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
	for _, want := range []string{"`bramble --help`", "one writer", "an array of 40", "last answer, p99", "agent and keeper, RssAnon", "a head with 100 nodes"} {
		if !strings.Contains(string(page), want) {
			t.Errorf("no %q on the page", want)
		}
	}
	if os.Geteuid() == 0 && !strings.Contains(string(page), "| `bramble run`") {
		t.Error("the fan-out is not on the page")
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
