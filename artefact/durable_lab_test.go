package artefact_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	. "bramble/artefact"
	"bramble/lab"
	"bramble/lab/labtest"
)

// What was acknowledged outlives kill -9 of the head at that moment and of a node that keeps it; the copy is made anew, and
// taken back when the node is there again.
func TestDurableOutlivesMachines(t *testing.T) {
	l := labtest.Up(t, 4, labtest.Loopback)
	file := filepath.Join(t.TempDir(), "file")
	data := noise(77, 3<<20)
	must(t, os.WriteFile(file, data, 0o644))
	l.Must("store", "set", "--patience", "5s")
	l.Must("store", "put", "thing", file, "--copies", "2")
	must(t, l.Kill(t.Context(), lab.Head))
	must(t, os.RemoveAll(filepath.Join(l.State, lab.Head, "head", "artefact"))) // what went through it is no copy
	must(t, l.Heal(t.Context(), lab.Head))
	l.Await("node[1-4]", "up")
	first := keptBy(t, l)
	must(t, l.Kill(t.Context(), first[0]))
	labtest.Until(t, "another node to keep it", func() bool {
		now := keptBy(t, l)
		return len(now) == 2 && !slices.Contains(now, first[0]) && len(whole(t, l, now)) == 2
	}, func() string { return fmt.Sprint(keptBy(t, l)) })
	get(t, l, data)
	must(t, l.Heal(t.Context(), first[0]))
	labtest.Until(t, "the first two to keep it again", func() bool { return slices.Equal(keptBy(t, l), first) })
	must(t, l.Kill(t.Context(), first[1]))
	get(t, l, data)
}

// keptBy is who keeps the thing, as the head sees it.
func keptBy(t *testing.T, l *labtest.Lab) (nodes []string) {
	t.Helper()
	c, err := l.Cluster(t.Context())
	if err != nil {
		return nil
	}
	defer c.Close()
	d, err := c.Durables().Find(t.Context(), "thing")
	if err != nil {
		return nil
	}
	for _, h := range d.Ring {
		nodes = append(nodes, h.Node)
	}
	return nodes
}

// whole are those of the nodes whose copy the head counts.
func whole(t *testing.T, l *labtest.Lab, nodes []string) []string {
	t.Helper()
	c, err := l.Cluster(t.Context())
	must(t, err)
	defer c.Close()
	reports, err := c.Durables().Doctor(t.Context(), "thing")
	if err != nil || reports[0].Standing.Thin > 0 {
		return nil
	}
	return nodes
}

func get(t *testing.T, l *labtest.Lab, data []byte) {
	t.Helper()
	to := filepath.Join(t.TempDir(), fmt.Sprint("out", time.Now().UnixNano()))
	labtest.Until(t, "the file to come back", func() bool { return l.Bramble("store", "get", "thing", to).Code == 0 })
	got, err := os.ReadFile(to)
	must(t, err)
	if RefOf(got) != RefOf(data) {
		t.Errorf("%d bytes came back, not those that were put", len(got))
	}
}
