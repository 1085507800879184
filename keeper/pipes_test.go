package keeper_test

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bramble/host"
	"bramble/keeper"
)

// talk starts a task and returns the other ends of its files.
func talk(t *testing.T, k keeper.Keeper, task keeper.Task) *keeper.Pipes {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "stdio")
	p, err := keeper.MakePipes(dir, os.Getuid(), os.Getgid())
	must(t, err)
	t.Cleanup(p.Close)
	task.Stdio = dir
	must(t, k.Start(t.Context(), []keeper.Task{task}))
	must(t, os.RemoveAll(dir))
	return p
}

func TestWhoStartsATaskTalksWithIt(t *testing.T) {
	k, _ := served(t, t.TempDir())
	p := talk(t, k, sh("talks", `read line; echo "you said $line"; cat >&2; exit 5`))
	io.WriteString(p.In, "hello\n")
	heard := make([]byte, 64)
	n, err := p.Out.Read(heard)
	must(t, err)
	if got := string(heard[:n]); got != "you said hello\n" {
		t.Errorf("it says %q", got)
	}
	io.WriteString(p.In, "rest")
	p.In.Close()
	if rest, err := io.ReadAll(p.Err); err != nil || string(rest) != "rest" {
		t.Errorf("it says %q, %v", rest, err)
	}
	if s := collect(t, k, "talks")["talks"]; s.Exit == nil || s.Exit.Code != 5 || s.Stdout+s.Stderr != 0 {
		t.Errorf("it ended with %+v, %+v", s, s.Exit)
	}
}

func TestATaskThatNobodyHearsEnds(t *testing.T) {
	k, _ := served(t, t.TempDir())
	talk(t, k, sh("cries", "while echo help; do :; done")).Close()
	if s := collect(t, k, "cries")["cries"]; s.Exit == nil || s.Exit.OK() {
		t.Errorf("it ended with %+v", s.Exit)
	}
}

func TestATaskOnATerminal(t *testing.T) {
	k, _ := served(t, t.TempDir())
	task := sh("screen", `trap 'stty size; exit 0' WINCH; stty size; while :; do sleep 0.05; done`)
	task.TTY = &host.Size{Rows: 10, Cols: 20}
	p := talk(t, k, task)
	until(t, "the terminal's size", func() bool { return said(p.Out, "10 20") })
	must(t, k.Signal(t.Context(), "screen", "WINCH 30x40"))
	until(t, "the new size", func() bool { return said(p.Out, "30 40") })
	collect(t, k, "screen")
}

func said(f *os.File, what string) bool {
	buf := make([]byte, 256)
	f.SetReadDeadline(time.Now().Add(5 * time.Second))
	n, _ := f.Read(buf)
	return strings.Contains(string(buf[:n]), what)
}
