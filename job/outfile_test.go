package job

import "testing"

func TestNodesWriteWhatIsSharedAndOneTasks(t *testing.T) {
	for _, c := range []struct {
		spec     Spec
		pattern  string
		nodes    bool
		for1, to string // all tasks: "all"; and the path
	}{
		{Spec{Shared: []string{"/s"}, SubmitDir: "/s/d"}, "out", true, "", "/s/d/out"},
		{Spec{Shared: []string{"/s"}, SubmitDir: "/s/d"}, "a/../b/%j", true, "", "/s/d/b/%j"},
		{Spec{Shared: []string{"/s"}, SubmitDir: "/home/d"}, "out", false, "", "/home/d/out"},
		{Spec{Shared: []string{"/s"}, SubmitDir: "/home/d"}, "/s/out", true, "", "/s/out"},
		{Spec{Shared: []string{"/s"}, SubmitDir: "/home/d"}, "/s/../etc/out", false, "", "/etc/out"},
		{Spec{Shared: []string{"/s"}}, "out", false, "", ""},
		{Spec{Shared: []string{"/"}, SubmitDir: "/d"}, "", false, "", ""},
		{Spec{Shared: []string{"/"}, SubmitDir: "/d"}, "/dev/null", false, "", "/dev/null"},
		{Spec{SubmitDir: "/d"}, "/s/out", false, "", "/s/out"},
		{Spec{Shared: []string{"/s"}, Array: "1-2"}, "/s/out", false, "all", "/s/out"},
		{Spec{Shared: []string{"/s"}, Array: "1-2"}, "/s/%A-%N-%%a", false, "all", "/s/%A-%N-%%a"},
		{Spec{Shared: []string{"/s"}, Array: "1-2"}, "/s/%A-%3a", true, "", "/s/%A-%3a"},
		{Spec{Shared: []string{"/s"}, Array: "1-2"}, "/s/%j", true, "", "/s/%j"},
		{Spec{Shared: []string{"/s"}, Array: "1-2", Append: true}, "/s/out", true, "", "/s/out"},
	} {
		if got := c.spec.NodesWrite(c.pattern); got != c.nodes {
			t.Errorf("%+v: nodes write %q: %v", c.spec, c.pattern, got)
		}
		if got := c.spec.ForAll(c.pattern); got != (c.for1 == "all") {
			t.Errorf("%+v: %q is one file for all: %v", c.spec, c.pattern, got)
		}
		if got := c.spec.outputPath(c.pattern); got != c.to {
			t.Errorf("%+v: %q is %q, wanted %q", c.spec, c.pattern, got, c.to)
		}
	}
}
