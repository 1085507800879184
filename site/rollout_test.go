package site

import (
	"slices"
	"strings"
	"testing"

	"bramble/artefact"
	"bramble/fault"
)

// A node that fails on the way gives nothing more: the node that has files from it is told, while it stages, to turn to the
// one before.
func TestStagingTurnsToAnotherNode(t *testing.T) {
	w := newWorld(t, "a", "b", "c", "d")
	begun, told := make(chan struct{}), make(chan []string, 2)
	w.nodes["c"].bring = func(artefact.Way, artefact.Progress) error {
		<-begun
		return fault.New(fault.Failed, "its disk is broken")
	}
	w.nodes["d"].bring = func(way artefact.Way, tell artefact.Progress) error {
		told <- way.From
		tell(1, 2)
		told <- <-way.Turns
		return nil
	}
	dir := folder(t, "index.html", "first", "large.bin", strings.Repeat("bramble", 1<<18))
	var failed []string
	for ev, err := range w.client().Publish(t.Context(), Publish{Spec: Spec{Name: "blog", Quorum: 75}}, Source(dir)) {
		switch {
		case err != nil:
			t.Fatal(err)
		case ev.Kind == Moving && ev.Node == "d" && ev.Done == 1:
			close(begun)
		case ev.Kind == Failed:
			failed = append(failed, ev.Node)
		}
	}
	if !slices.Equal(failed, []string{"c"}) {
		t.Errorf("%q failed", failed)
	}
	if from := <-told; !slices.Equal(from, []string{"c:7651", "b:7651", "a:7651"}) {
		t.Errorf("at first d has files from %q", from)
	}
	if from := <-told; !slices.Equal(from, []string{"b:7651", "a:7651"}) {
		t.Errorf("then d has files from %q", from)
	}
	w.serve("first", "a", "b", "d")
}

// While a release is made ready, its state on each node says who could serve it already; afterwards nobody has it ready.
func TestStatusNamesWhatIsReady(t *testing.T) {
	w := newWorld(t, "one", "two")
	dir := folder(t, "index.html", "first")
	if _, err := w.publish(dir, Spec{}); err != nil {
		t.Fatal(err)
	}
	ready := func() (ids []artefact.Ref) {
		for st, err := range w.client().Status(t.Context(), "blog") {
			if err != nil || st.State != Serving {
				t.Errorf("%+v, %v", st, err)
			}
			ids = append(ids, st.Ready)
		}
		return ids
	}
	for _, end := range []string{"goes live", "is given up"} {
		live, _ := w.head.find("blog")
		write(t, dir, "index.html", "and "+end)
		goOn, ended := make(chan struct{}), make(chan error, 1)
		w.nodes["two"].bring = func(artefact.Way, artefact.Progress) error {
			<-goOn
			if end == "is given up" {
				return fault.New(fault.Failed, "its disk is broken")
			}
			return nil
		}
		go func() {
			_, err := w.publish(dir, Spec{})
			ended <- err
		}()
		w.until("one is ready", func() bool { ids := ready(); return ids[0] != "" && ids[0] != live.Live && ids[1] == "" })
		close(goOn)
		if err := <-ended; (err != nil) != (end == "is given up") {
			t.Errorf("what %s ended with %v", end, err)
		}
		w.until("nobody has it ready", func() bool { return slices.Equal(ready(), []artefact.Ref{"", ""}) })
	}
}
