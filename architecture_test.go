package main

import (
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// vendors lists modules that only one room may know.
var vendors = map[string]string{
	"github.com/nats-io/":             "bus",
	"github.com/alecthomas/kong":      "cli",
	"github.com/vishvananda/":         "host",
	"github.com/creack/pty":           "host",
	"golang.org/x/sys/unix":           "host",
	"github.com/charmbracelet/x/ansi": "term",
	"golang.org/x/crypto/acme":        "front",
	"html/template":                   "web",
}

type pkg struct {
	ImportPath   string
	Imports      []string
	TestImports  []string
	XTestImports []string
}

func TestImports(t *testing.T) {
	layer := layers(t)
	for _, p := range packages(t) {
		from := room(p.ImportPath)
		if _, known := layer[from]; !known {
			t.Errorf("%s: the room %s is not in ARCHITECTURE.md", p.ImportPath, from)
			continue
		}
		for _, imported := range p.Imports {
			if to, ours := strings.CutPrefix(imported, "bramble/"); ours {
				to, _, _ = strings.Cut(to, "/")
				if to != from && layer[to] <= layer[from] {
					t.Errorf("%s imports %s, which is not below it", p.ImportPath, imported)
				}
			}
			for vendor, owner := range vendors {
				if strings.HasPrefix(imported, vendor) && from != owner {
					t.Errorf("%s imports %s, which only %s may know", p.ImportPath, imported, owner)
				}
			}
		}
	}
}

// layers reads the imports block: each room's line number.
func layers(t *testing.T) map[string]int {
	text, err := os.ReadFile("ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, ok := strings.Cut(string(text), "```imports\n")
	if !ok {
		t.Fatal("ARCHITECTURE.md has no imports block")
	}
	block, _, _ = strings.Cut(block, "```")
	layer := map[string]int{}
	for i, line := range strings.Split(strings.TrimSpace(block), "\n") {
		for _, name := range strings.Fields(line) {
			layer[name] = i + 1
		}
	}
	return layer
}

func room(path string) string {
	path = strings.TrimPrefix(path, "bramble")
	path = strings.TrimPrefix(path, "/")
	path, _, _ = strings.Cut(path, "/")
	if path == "" {
		return "main"
	}
	return path
}

func packages(t *testing.T) []pkg {
	out, err := exec.Command("go", "list", "-json", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); err == io.EOF {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}
