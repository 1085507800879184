package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"bramble/cli"
	"bramble/trust"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"bramble": func() { os.Exit(cli.Main(os.Args[1:])) }})
}

// TestScripts types what people type, right and wrong, at one cluster of processes. node3 is for the script
// that renames and removes; the others leave the cluster as it was.
func TestScripts(t *testing.T) {
	state := startCluster(t)
	file, err := trust.LoadClientFile(filepath.Join(state, "client"))
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			e.Setenv("BRAMBLE_CLUSTER", state)
			e.Setenv("JOIN", file.Join)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "objects": objects, "await": await},
	})
}

// startCluster starts a head and three nodes as processes that end with the test.
func startCluster(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "cli") // the sockets in it have short names
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil { // scripts run as another account
		t.Fatal(err)
	}
	state := filepath.Join(dir, "lab")
	lab := func(ctx context.Context, verb ...string) {
		cmd := exec.CommandContext(ctx, "bramble", append(append([]string{"lab"}, verb...), "--state", state)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", cmd, err, out)
		}
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		lab(ctx, "down")
		os.RemoveAll(dir)
	})
	lab(t.Context(), "up", "--nodes", "3", "--no-netns")
	if t.Failed() {
		t.FailNow()
	}
	return state
}

// exits runs a command and compares its exit status: exits STATUS COMMAND…
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits STATUS COMMAND…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		ended, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = ended.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}

// objects checks that a file is a JSON list of so many objects which all have the keys: objects FILE COUNT KEY…
func objects(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: objects FILE COUNT KEY…")
	}
	var list []map[string]any
	text := ts.ReadFile(args[0])
	if err := json.Unmarshal([]byte(text), &list); err != nil || list == nil {
		ts.Fatalf("%s is no list of objects: %v\n%s", args[0], err, text)
	}
	if want, _ := strconv.Atoi(args[1]); len(list) != want {
		ts.Fatalf("%d objects, want %d", len(list), want)
	}
	for _, o := range list {
		for _, key := range args[2:] {
			if o[key] == nil {
				ts.Fatalf("no %s in %v", key, o)
			}
		}
	}
}

// await repeats a command until it prints the text: await TEXT COMMAND…
func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: await TEXT COMMAND…")
	}
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if ts.Exec(args[1], args[2:]...) == nil && bytes.Contains([]byte(ts.ReadFile("stdout")), []byte(args[0])) {
			return
		}
	}
	ts.Fatalf("%q was not printed in 30 s", args[0])
}
