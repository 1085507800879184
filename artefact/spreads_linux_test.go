package artefact_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	. "bramble/artefact"
	"bramble/trust"
)

// sees waits until somebody who only looks is told of a spread that is so.
func (r *spread) sees(what string, is func(Spread) bool) Spread {
	r.Helper()
	viewer := r.copier("vic", trust.Viewer)
	var last []Spread
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		last = nil
		for s, err := range viewer.Spreads(r.Context(), SpreadsRequest{}) {
			must(r.T, err)
			if last = append(last, s); is(s) {
				return s
			}
		}
	}
	r.Fatalf("never: %s; %+v", what, last)
	return Spread{}
}

// A push, a release of a site and the files of a job are seen on their way and after it.
func TestSpreadsAreSeen(t *testing.T) {
	r := newSpread(t, "n1", "n2")
	data := noise(7, 6<<20)
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, data, 0o644))
	n2 := r.nodes["n2"]
	n2.via.close(2 << 20)
	pushed := make(chan error, 1)
	go func() {
		_, err := r.push(r.copier("ann", trust.Operator), Push{On: "all", To: "there", Sources: []string{file}})
		pushed <- err
	}()
	s := r.sees("n2 is at it and n1 has it", func(s Spread) bool { return len(s.Nodes) == 3 && s.Nodes[2].Total > 0 && s.Whole == 1 })
	if s.Kind != SpreadPush || s.What != "there" || s.User != "ann" || s.Bytes != int64(len(data)) || s.Nodes[2].Node != "n2" || s.Nodes[2].Step != Fetching || s.Nodes[2].Total != int64(len(data)) || !s.Ended.IsZero() {
		t.Errorf("on its way: %+v", s)
	}
	n2.via.open()
	must(t, <-pushed)
	s = r.sees("it has ended", func(s Spread) bool { return !s.Ended.IsZero() })
	if s.Whole != 2 || len(s.Nodes) != 1 || s.Nodes[0].Node != "asleep" || s.Nodes[0].Error != "down" {
		t.Errorf("after it: %+v", s)
	}

	for what, bring := range map[string]func(Ref) error{
		"blog": func(ref Ref) error {
			_, _, err := r.halves[1].Bring(t.Context(), "site-blog."+string(ref), Blob{ref, -1}, Way{}, nil)
			return err
		},
		"7": func(ref Ref) error {
			_, release, err := r.halves[1].FetchHeld(t.Context(), "job-7", ref)
			if err == nil {
				release()
			}
			return err
		},
	} {
		must(t, os.WriteFile(file, noise(uint64(len(what)), 6<<20), 0o644))
		tree, err := Scan(t.Context(), []string{file})
		must(t, err)
		ref, err := r.client().Upload(t.Context(), tree, tree.Manifest, nil)
		must(t, err)
		tree.Close()
		n2.via.close(2 << 20)
		brought := make(chan error, 1)
		go func() { brought <- bring(ref) }()
		time.Sleep(400 * time.Millisecond)
		n2.via.mu.Lock()
		n2.via.left += 2 << 20
		n2.via.mu.Unlock()
		n2.via.open()
		must(t, <-brought)
		s := r.sees(what+" has come", func(s Spread) bool { return s.What == what && s.Whole == 1 })
		if len(s.Nodes) != 1 || s.Nodes[0].Node != "n2" || s.User != "" {
			t.Errorf("%+v", s)
		}
	}
}
