package cli_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"bramble/lab/labtest"
)

// TestGuide types every command of docs/guide.md into one shell and holds its answers against the guide's.
func TestGuide(t *testing.T) {
	if testing.Short() {
		t.Skip("short: the guide takes half a minute; make test runs it")
	}
	text, err := os.ReadFile("../docs/guide.md")
	if err != nil {
		t.Fatal(err)
	}
	sh := startShell(t)
	for _, s := range guideSteps(string(text)) {
		out, status := sh.run(s.command)
		if status != s.status {
			t.Fatalf("guide.md:%d: $ %s\nended with status %d, not %d:\n%s", s.line, s.command, status, s.status, out)
		}
		if !s.answers(out) {
			t.Fatalf("guide.md:%d: $ %s\nanswered\n%s\nnot\n%s", s.line, s.command, out, strings.Join(s.want, "\n"))
		}
	}
}

// step is one command of the guide with what it should answer.
type step struct {
	line    int
	command string
	want    []string
	status  int
}

// guideSteps reads the console blocks: "$ " begins a command, "> " continues it, "? N" is its exit status, other lines are its answer.
func guideSteps(text string) []step {
	var steps []step
	inside := false
	for i, line := range strings.Split(text, "\n") {
		switch {
		case strings.HasPrefix(line, "```"):
			inside = line == "```console"
		case !inside:
		case strings.HasPrefix(line, "$ "):
			steps = append(steps, step{line: i + 1, command: line[2:]})
		case strings.HasPrefix(line, "> ") && len(steps[len(steps)-1].want) == 0:
			steps[len(steps)-1].command += "\n" + line[2:]
		case strings.HasPrefix(line, "? "):
			fmt.Sscan(line[2:], &steps[len(steps)-1].status)
		default:
			last := &steps[len(steps)-1]
			last.want = append(last.want, line)
		}
	}
	return steps
}

// answers holds an output against the guide's lines: … is anything within a line, a line of … any number of lines.
func (s step) answers(out string) bool {
	var pattern strings.Builder
	pattern.WriteString("^")
	for _, line := range s.want {
		if line == "…" {
			pattern.WriteString(`(?:.*\n)*?`)
			continue
		}
		quoted := strings.ReplaceAll(regexp.QuoteMeta(line), "…", ".*")
		pattern.WriteString(quoted + `\n`)
	}
	pattern.WriteString("$")
	return regexp.MustCompile(pattern.String()).MatchString(out)
}

// shell is one sh that commands are typed into.
type shell struct {
	t   *testing.T
	in  io.Writer
	out *bufio.Reader
}

func startShell(t *testing.T) *shell {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil { // nodes write here as other accounts
		t.Fatal(err)
	}
	for up := dir; len(up) > len(os.TempDir()); up = filepath.Dir(up) {
		os.Chmod(up, 0o777)
	}
	bin := labtest.Binary(t)
	path := filepath.Join(dir, "bin")
	os.Mkdir(path, 0o755)
	if err := os.Symlink(bin, filepath.Join(path, "bramble")); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("bash", "--norc", "-m")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+path+":"+os.Getenv("PATH"), "HOME="+dir, "XDG_STATE_HOME="+dir, "NO_COLOR=1",
		"BRAMBLE_STATE="+filepath.Join(dir, "state"), "BRAMBLE_CLUSTER="+filepath.Join(dir, "state"),
		"BRAMBLE_ADDRESS=127.0.0.1", "BRAMBLE_BUS="+freeAddr(t), "BRAMBLE_PEER="+freeAddr(t), "BRAMBLE_WEB="+freeAddr(t))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	t.Cleanup(func() {
		io.WriteString(in, "for l in lab magazine; do bramble lab down --state $l; done; kill $(jobs -p); wait; exit\n")
		in.Close()
		done := make(chan error, 1)
		go func() { done <- cmd.Wait() }()
		go io.Copy(io.Discard, r)
		select {
		case <-done:
		case <-time.After(30 * time.Second):
			cmd.Process.Kill()
		}
		r.Close()
	})
	return &shell{t, in, bufio.NewReader(r)}
}

func freeAddr(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// run types a command and returns what it said until its end, and its status.
func (s *shell) run(command string) (string, int) {
	s.t.Helper()
	const mark = "@@ended "
	if _, err := io.WriteString(s.in, "{ "+command+"\n} </dev/null\necho \""+mark+"$?\"\n"); err != nil {
		s.t.Fatal(err)
	}
	var said strings.Builder
	for {
		line, err := s.out.ReadString('\n')
		if before, status, ok := strings.Cut(line, mark); ok {
			var n int
			fmt.Sscan(status, &n)
			said.WriteString(before)
			return said.String(), n
		}
		said.WriteString(line)
		if err != nil {
			s.t.Fatalf("$ %s: the shell ended: %v\n%s", command, err, said.String())
		}
	}
}
