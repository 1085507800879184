package cli_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// usePython is what a person writes: functions and classes of the program, of a module beside it, lambdas, exceptions.
const usePython = `
import os, helper
from bramble import Cluster, RemoteError, BrambleError

K = 3

class Point:
    def __init__(self, x):
        self.x = x

    def moved(self, d):
        return Point(self.x + d)

def both(x):
    return helper.twice(x) + K

def bad(x):
    raise KeyError("lost %d" % x)

with Cluster() as c:
    assert c.cores() > 0
    assert list(c.map(both, range(10))) == [2 * x + 3 for x in range(10)]
    assert sorted(c.imap(lambda a, b: a * b, [1, 2, 3], [4, 5, 6])) == [(0, 4), (1, 10), (2, 18)]
    points = list(c.map(lambda p: p.moved(1), [Point(1), Point(2)]))
    assert [type(p) for p in points] == [Point, Point] and [p.x for p in points] == [2, 3]
    try:
        list(c.map(bad, [1, 2]))
        assert False
    except KeyError as e:
        assert e.args == ("lost 1",) and "in bad" in str(e.__cause__), e.__cause__
    try:
        list(c.map(lambda x: os.kill(os.getpid(), 9), [1]))
        assert False
    except RemoteError as e:
        assert "SIGKILL" in str(e), e
    with c.executor() as ex:
        futures = [ex.submit(pow, 2, n) for n in range(5)]
        assert [f.result() for f in futures] == [1, 2, 4, 8, 16]
try:
    Cluster("http://127.0.0.1:1", "x").cores()
    assert False
except BrambleError as e:
    assert "does not answer" in str(e), e
try:
    Cluster(cpus=0)
    assert False
except ValueError as e:
    assert "no core" in str(e), e
print("all is well")
`

// TestPython calls Python functions on a cluster with bramble.py, as the dashboard serves it.
func TestPython(t *testing.T) {
	if testing.Short() {
		t.Skip("short: it takes seconds; make test runs it")
	}
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Fatal("python3 is not here: scripts/setup installs it")
	}
	state, dir := startCluster(t), t.TempDir()
	module, err := os.ReadFile("../web/static/bramble.py")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"bramble.py": string(module), "helper.py": "def twice(x):\n    return 2 * x\n", "use.py": usePython} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), python, "use.py")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "BRAMBLE_CLUSTER="+state)
	if out, err := cmd.CombinedOutput(); err != nil || !strings.HasSuffix(string(out), "all is well\n") {
		t.Errorf("%v\n%s", err, out)
	}
}
