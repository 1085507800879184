package each_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"bramble/lab"
	"bramble/lab/labtest"
)

// The same command lines for GNU parallel and for bramble each have the same output and the same exit status.
func TestAsParallel(t *testing.T) {
	if testing.Short() {
		t.Skip("short: it takes seconds; make test runs it")
	}
	if _, err := exec.LookPath("parallel"); err != nil {
		t.Fatal("GNU parallel is not here: scripts/setup installs it")
	}
	l := open(t)
	for _, line := range []string{
		`P -k echo ::: a b c`,
		`P -k echo {} ::: 'two words' "it's" 'a;b' '$HOME' '*' 'back\slash' 'tab	tab' 'ü' ''`,
		`seq 20 | P -k 'echo {}; expr {} + 1'`,
		`printf 'echo one\necho two words\n' | P -k`,
		`P -k echo {.} {/} {//} {/.} ::: x/y.tar.gz plain .hidden /abs/f.c dir.d/noext a/`,
		`P -k echo {#} {} ::: x y z`,
		`P -k echo {1} {2} ::: 1 2 3 ::: a b`,
		`P -k echo {2.} {1/} ::: d/1 ::: a.b c.d`,
		`P -k echo ::: 1 2 ::: a b`,
		`P -k echo {1}-{2} ::: 1 2 3 :::+ a b c`,
		`P -k --link echo {1}{2} ::: 1 2 3 ::: a b`,
		`printf '1\n2\n' > in1; printf 'a\nb\n' > in2; P -k echo :::: in1 in2`,
		`printf '1\n2\n' > in1; P -k -a in1 echo x{}`,
		`printf 'a b\0c\nd\0' | P -k -0 echo`,
		`printf '1,x\n2,y\n' | P -k --colsep , echo {2}{1}`,
		`seq 7 | P -k -n 3 echo`,
		`seq 6 | P -k -n 2 echo {2} {1}`,
		`P -k --tag 'echo {}; echo again' ::: a b`,
		`P -k 'echo {-1} {1}' ::: a ::: b`,
		`P 'exit {}' ::: 0 1 0 3 255`,
		`P true ::: 1 2`,
		`P -k 'echo out{}; echo err{} >&2' ::: 1 2 3`,
		`P --dry-run echo {} ::: 'a b' "c'd" '<>' 'x=y'`,
		`P -k 'printf "no end of line"' ::: 1 2`,
		`P -k 'echo $PARALLEL_SEQ' ::: a b c`,
		`P -k echo {notone} {} ::: 1`,
		`P --halt now,fail=1 -j1 'exit {}' ::: 0 7 0`,
		`P --halt soon,fail=2 -j1 'exit {}' ::: 3 0 4 0`,
		`P --halt now,success=1 -j1 'exit {}' ::: 1 0 1`,
		`P -k --joblog log echo ::: 1 2 >/dev/null; cut -f 1,7,8,9 log | sort -n`,
		`P --joblog log 'exit {}' ::: 0 2 0; P -k --joblog log --resume 'echo again {}' ::: 0 2 0 5`,
		`P --joblog log 'exit {}' ::: 0 2 0; P -k --joblog log --resume-failed 'echo again {}' ::: 0 2 0 5`,
	} {
		t.Run(line, func(t *testing.T) {
			theirs, their := run(t, strings.ReplaceAll(line, "P ", "parallel --will-cite "), "")
			ours, our := run(t, strings.ReplaceAll(line, "P ", labtest.Binary(t)+" each "), l.State)
			if ours != theirs || our != their {
				t.Errorf("got status %d and\n%s\nGNU parallel has status %d and\n%s", our, ours, their, theirs)
			}
		})
	}
}

// open is a lab in a folder that tasks of other accounts may pass through.
func open(t *testing.T) *labtest.Lab {
	t.Helper()
	dir := t.TempDir()
	for _, path := range []string{filepath.Dir(dir), dir} {
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return labtest.Up(t, 2, labtest.Loopback, func(o *lab.Options) { o.State = filepath.Join(dir, "lab") })
}

// run types a line in a folder of its own.
func run(t *testing.T, line, cluster string) (string, int) {
	t.Helper()
	cmd := exec.Command("sh", "-c", regexp.MustCompile(`parallel --will-cite $`).ReplaceAllString(line, "parallel --will-cite"))
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "BRAMBLE_CLUSTER="+cluster, "LC_ALL=C.UTF-8")
	var out bytes.Buffer
	cmd.Stdout = &out
	err := cmd.Run()
	if _, failed := err.(*exec.ExitError); err != nil && !failed {
		t.Fatal(err)
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

// Inputs travel to the run and what it made comes back to the same relative place; the joblog says where it ran.
func TestFilesTravel(t *testing.T) {
	l := open(t)
	dir := t.TempDir()
	for name, text := range map[string]string{"a.txt": "b\na\n", "sub/c.txt": "d\nc\n", "common": "first\n"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(labtest.Binary(t), "each", "--transfer", "--basefile", "common", "--return", "{.}.sorted", "--joblog", "log",
		"cat common > {.}.sorted; sort {} >> {.}.sorted", ":::", "a.txt", "sub/c.txt")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "BRAMBLE_CLUSTER="+l.State)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for name, want := range map[string]string{"a.sorted": "first\na\nb\n", "sub/c.sorted": "first\nc\nd\n"} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
			t.Errorf("%s is %q, %v", name, got, err)
		}
	}
	log, err := os.ReadFile(filepath.Join(dir, "log"))
	if err != nil || !regexp.MustCompile(`\n1\tnode\d\t\d{10}\.\d{3}\t +\d+\.\d{3}\t0\t0\t0\t0\tcat`).Match(log) {
		t.Errorf("the joblog is %q, %v", log, err)
	}
}
