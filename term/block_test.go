package term

import (
	"fmt"
	"strings"
	"testing"
)

func TestBlock(t *testing.T) {
	s := newScreen(20, 5)
	fmt.Fprintln(s, "before")
	b := NewBlock(onScreen(s).Stderr)
	long := strings.Repeat("x", 15)
	for _, step := range []struct {
		name  string
		cols  int
		lines []string
		want  string
	}{
		{"drawn", 20, []string{"one", "two", "three"}, "before\none\ntwo\nthree"},
		{"fewer lines", 20, []string{"1"}, "before\n1"},
		{"none", 20, nil, "before"},
		{"more than fit", 20, []string{"1", "2", "3", "4", "5", "6"}, "before\n1\n2\n3\n4"},
		{"long", 20, []string{long, "end"}, "before\n" + long + "\nend"},
		{"the same, narrower", 10, []string{long, "end"}, "before\nxxxxxxxx…\nend"},
		{"the same, wider", 20, []string{long, "end"}, "before\n" + long + "\nend"},
	} {
		s.resize(step.cols, 5)
		if err := b.Draw(step.lines); err != nil || s.text() != step.want {
			t.Errorf("%s: %v\n%s\nwant\n%s", step.name, err, s.text(), step.want)
		}
	}
	before := s.count()
	b.Draw([]string{long, "end"})
	if s.count() != before {
		t.Error("nothing changed, and it was drawn again")
	}
	b.Clear()
	fmt.Fprintln(s, "after")
	if s.text() != "before\nafter" {
		t.Errorf("after Clear: %q", s.text())
	}
}
