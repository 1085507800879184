package cli

import (
	"io"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"testing"

	"bramble/term"
)

// TestExamplesParse holds every verb's help to its word: each example is one that bramble understands.
func TestExamplesParse(t *testing.T) {
	for _, v := range os.Environ() { // BRAMBLE_… would answer for flags
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "BRAMBLE_") {
			t.Setenv(name, "")
			os.Unsetenv(name)
		}
	}
	var g grammar
	parser, err := newParser(&g, term.NewTest(io.Discard, 0, term.Plain), func(int) {})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range parser.Model.Leaves(true) {
		t.Run(commandPath(n), func(t *testing.T) {
			ex, ok := n.Target.Addr().Interface().(interface{ Examples() string })
			if !ok {
				return // the next test says so
			}
			for line := range strings.Lines(ex.Examples()) {
				example(t, commandPath(n), strings.TrimSpace(line))
			}
		})
	}
}

// example parses a line of help as a shell would hand it to bramble.
func example(t *testing.T, verb, line string) {
	t.Helper()
	if !strings.Contains(line, "bramble ") {
		return
	}
	line = line[strings.Index(line, "bramble ")+len("bramble "):]
	for _, stop := range []string{" | ", " > ", "; ", " && "} {
		if before, _, ok := strings.Cut(line, stop); ok && !strings.Contains(before, "'") {
			line = before
		}
	}
	out, err := exec.Command("sh", "-c", `for w in `+line+`
do printf '%s\000' "$w"; done`).Output()
	if err != nil {
		t.Errorf("%s: sh does not understand %q: %v", verb, line, err)
		return
	}
	words := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	var g grammar
	parser, err := newParser(&g, term.NewTest(io.Discard, 0, term.Plain), func(int) {})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse(words); err != nil {
		t.Errorf("%s: bramble does not understand %q: %v", verb, line, err)
	}
	part, _ := narrow(words[0])
	parser, err = newParser(part, term.NewTest(io.Discard, 0, term.Plain), func(int) {})
	if err == nil {
		_, err = parser.Parse(words)
	}
	if err != nil {
		t.Errorf("%s: with the grammar of %s alone, bramble does not understand %q: %v", verb, words[0], line, err)
	}
}

// TestVerbsExplainThemselves: a verb that takes words of its own shows how.
func TestVerbsExplainThemselves(t *testing.T) {
	var g grammar
	parser, err := newParser(&g, term.NewTest(io.Discard, 0, term.Plain), func(int) {})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range parser.Model.Leaves(true) {
		if n.Help == "" {
			t.Errorf("%s has no help", commandPath(n))
		}
		if _, ok := n.Target.Addr().Interface().(interface{ Examples() string }); !ok {
			t.Errorf("%s has no example", commandPath(n))
		}
	}
}

func TestNarrow(t *testing.T) {
	for word, whole := range map[string]bool{"nodes": false, "slurm-shims": false, "ui": false, "--cluster": true, "nod": true, "cluster": true, "": true} {
		if part, _ := narrow(word); (reflect.TypeOf(part) == reflect.TypeFor[*grammar]()) != whole {
			t.Errorf("%q is parsed by %T", word, part)
		}
	}
	part, cluster := narrow("nodes")
	parser, err := newParser(part, term.NewTest(io.Discard, 0, term.Plain), func(int) {})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse([]string{"nodes", "--cluster", "/somewhere"}); err != nil || *cluster != "/somewhere" {
		t.Errorf("the cluster is %q, %v", *cluster, err)
	}
}
