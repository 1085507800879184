package job

import (
	"cmp"
	"os"
	"path/filepath"

	"bramble/fault"
	"bramble/keeper"
)

// NodesWrite reports whether the nodes where tasks run write to the files of a pattern, one of Output and Error, rather than who
// brings the job's output: it leads to a path that is the same everywhere, and no task finds what another has written, unless
// it is to add to that.
func (s *Spec) NodesWrite(pattern string) bool {
	path := s.outputPath(pattern)
	return path != "" && path != os.DevNull && s.IsShared(path) && (s.Append || s.Array == "" || tellsApart(pattern))
}

// ForAll reports whether the nodes would write to the files of a pattern if it did not make one of all tasks' output.
func (s *Spec) ForAll(pattern string) bool {
	own := *s
	own.Array = ""
	return own.NodesWrite(pattern) && !s.NodesWrite(pattern)
}

// outputPath is a pattern from the root; "" when there is none.
func (s *Spec) outputPath(pattern string) string {
	switch {
	case filepath.IsAbs(pattern):
		return filepath.Clean(pattern)
	case pattern == "" || !filepath.IsAbs(s.SubmitDir):
		return ""
	}
	return filepath.Join(s.SubmitDir, pattern)
}

// tellsApart reports whether a pattern gives each task of an array another name.
func tellsApart(pattern string) bool {
	for i := 0; i < len(pattern); i++ {
		if pattern[i] != '%' {
			continue
		}
		letter, _, end := verb(pattern, i)
		switch letter {
		case 'a', 'j', 'J':
			return true
		}
		i = end - 1
	}
	return false
}

// copyOf is the files that an attempt's output goes to here; nil for none.
func (n *Node) copyOf(k Key, spec *Spec) (*keeper.Copy, error) {
	w := Writer{Job: k.Job, Array: spec.Array != "", Index: k.Index, Name: spec.Name, User: spec.User, Node: n.Conn.Who().Name}
	file := func(pattern string) string {
		if !spec.NodesWrite(pattern) {
			return ""
		}
		return FileName(spec.outputPath(pattern), w)
	}
	c := keeper.Copy{Out: file(spec.Output), Err: file(cmp.Or(spec.Error, spec.Output)), Append: spec.Append}
	switch {
	case c.Out == "" && c.Err == "":
		return nil, nil
	case !keeper.Copies(n.Keeper):
		return nil, fault.New(fault.Failed, "the keeper on %s is of an earlier version, which writes no output to files", w.Node).Hint("wait until its tasks have ended, then bramble service restart there")
	}
	if filepath.IsAbs(spec.SubmitDir) {
		c.Below = spec.SubmitDir
	}
	return &c, nil
}
