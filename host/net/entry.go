package hostnet

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Entry prepares the node's home, an absolute path to a folder on the machine, and
// returns an entry without a program. Programs that start with the same home share /tmp.
func (n *Network) Entry(node, home string) (Entry, error) {
	at, _, err := n.node(node)
	if err != nil {
		return Entry{}, err
	}
	e := Entry{Namespace: at.Namespace, Hostname: at.Name, Home: home}
	if err := e.furnish(n.hosts()); err != nil {
		return Entry{}, fmt.Errorf("preparing the home of %s: %w", node, err)
	}
	return e, nil
}

// Argv is the command line that runs args on the node: self is the path of a binary
// that knows EnterVerb. It needs no special start, keeps its process id, and leaves no process in between.
func (e Entry) Argv(self string, args ...string) []string {
	e.Args = args
	text, err := json.Marshal(e)
	if err != nil {
		panic(err) // strings always marshal
	}
	return []string{self, EnterVerb, string(text)}
}

// furnish makes what is bound over the machine's own files.
func (e Entry) furnish(hosts string) error {
	if err := os.MkdirAll(e.tmp(), 0o755); err != nil {
		return err
	}
	if err := os.Chmod(e.tmp(), 0o777|os.ModeSticky); err != nil {
		return err
	}
	if err := os.WriteFile(e.file("hosts"), []byte(hosts), 0o644); err != nil {
		return err
	}
	return os.WriteFile(e.file("hostname"), []byte(e.Hostname+"\n"), 0o644)
}

func (e Entry) tmp() string { return e.file("tmp") }

func (e Entry) file(name string) string { return filepath.Join(e.Home, name) }

// hosts is /etc/hosts as every node of the lab sees it.
func (n *Network) hosts() string {
	var b strings.Builder
	b.WriteString("127.0.0.1 localhost\n::1 localhost\n")
	for _, node := range n.Nodes {
		fmt.Fprintf(&b, "%s %s\n", node.Addr, node.Name)
	}
	return b.String()
}
