package each

import (
	"reflect"
	"strings"
	"testing"
)

func TestTemplate(t *testing.T) {
	for _, c := range []struct{ template, want string }{
		{"{}", "d/a.b c"}, {"{.}", "d/a c"}, {"{/}", "a.b c"}, {"{//}", "d ."}, {"{/.}", "a c"}, {"{#}", "7"}, {"{1.}x{2}", "d/axc"},
		{"{-1}", "c"}, {"{3}", ""}, {"{x} {1x}", "{x} {1x}"}, {"${HOME}", "${HOME}"},
	} {
		tm, err := Parse(c.template)
		if got := tm.Fill([]string{"d/a.b", "c"}, 7, false); err != nil || got != c.want {
			t.Errorf("%s: got %q and %v, want %q", c.template, got, err, c.want)
		}
	}
	for _, bad := range []string{"{= s/a/b/ =}", "{%}"} {
		if _, err := Parse(bad); err == nil {
			t.Errorf("%s is read", bad)
		}
	}
}

func TestHalt(t *testing.T) {
	for _, c := range []struct {
		text                string
		failed, done, total int
		want                bool
	}{
		{"never", 9, 9, 9, false}, {"soon,fail=1", 0, 5, 0, false}, {"soon,fail=1", 1, 0, 0, true}, {"now,success=2", 9, 1, 0, false},
		{"now,success=2", 0, 2, 0, true}, {"now,done=3", 1, 2, 0, true}, {"now,fail=50%", 4, 0, 0, false}, {"now,fail=50%", 4, 0, 9, false}, {"now,fail=50%", 5, 0, 9, true},
	} {
		h, err := ParseHalt(c.text)
		if got := h.Due(c.failed, c.done, c.total); err != nil || got != c.want {
			t.Errorf("%+v: got %v and %v", c, got, err)
		}
	}
	for _, bad := range []string{"later,fail=1", "now", "now,fail", "now,fail=0", "now,fail=x%", "now,fail=101%", "3"} {
		if h, err := ParseHalt(bad); err == nil {
			t.Errorf("%s is read as %+v", bad, h)
		}
	}
}

func TestSplit(t *testing.T) {
	command, sources := Split(strings.Fields("echo {} ::: a b :::+ c d :::: f g"))
	want := []Source{{Values: []string{"a", "b"}}, {Values: []string{"c", "d"}, Linked: true}, {File: "f"}, {File: "g"}}
	if !reflect.DeepEqual(command, []string{"echo", "{}"}) || !reflect.DeepEqual(sources, want) {
		t.Errorf("got %q and %+v", command, sources)
	}
}

func TestChunksGrowAndKeepToTheCap(t *testing.T) {
	for _, c := range []struct {
		o                        Options
		jobs, slots, outstanding int
		want                     int
	}{
		{Options{}, 0, 8, 0, 8}, {Options{}, 2, 8, 0, 32}, {Options{}, 40, 8, 0, maxChunk}, {Options{Jobs: 3}, 0, 8, 1, 2}, {Options{Jobs: 3}, 5, 8, 3, 0},
		{Options{Transfer: []string{"{}"}}, 9, 8, 0, chunkWithFiles},
	} {
		if got := c.o.chunkSize(c.jobs, c.slots, c.outstanding); got != c.want {
			t.Errorf("%+v: got %d", c, got)
		}
	}
}

func TestJoblogThatIsNone(t *testing.T) {
	if _, err := readJoblog("each_test.go", ResumeAll); err == nil || !strings.Contains(err.Error(), "line 1 is no joblog's") {
		t.Errorf("got %v", err)
	}
}
