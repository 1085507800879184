package host

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// onGround is a host that is made to believe in less than the machine has.
func onGround(t *testing.T, change func(*ground)) *Real {
	t.Helper()
	h := NewReal(RealOptions{StateDir: t.TempDir()})
	t.Cleanup(func() { h.Close() })
	h.groups.found = true
	h.groups.ground = findGround(newTree("/"), "/", true, writable)
	change(&h.groups.ground)
	return h
}

var lesserGrounds = map[string]func(*ground){
	"version 1 alone":           func(g *ground) { g.unified, g.v2 = "", nil },
	"version 1 without freezer": func(g *ground) { g.unified, g.v2 = "", nil; delete(g.v1, "freezer") },
	"nothing":                   func(g *ground) { *g = ground{} },
}

func TestKillOnLesserGround(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("control groups need root")
	}
	for name, change := range lesserGrounds {
		for _, limits := range []Limits{{}, {PIDs: 100, Memory: 64 << 20, CPUs: 1}} {
			t.Run(fmt.Sprintf("%s, limits %v", name, limits != Limits{}), func(t *testing.T) {
				h := onGround(t, change)
				file := filepath.Join(t.TempDir(), "pid")
				p, err := h.Start(Command{ID: "t", Limits: limits, Env: []string{"F=" + file}, Args: []string{"/bin/sh", "-c",
					`trap '' TERM; (setsid sh -c 'echo $$ > $F; exec sleep 1000' &); while :; do sleep 0.01 & sleep 0.001; done`}})
				if err != nil {
					t.Fatal(err)
				}
				daemon := waitForPid(t, file)
				if err := p.Kill(); err != nil {
					t.Fatal(err)
				}
				if d, ok := readProc(daemon); ok && d.alive() {
					t.Error("the daemon lives on")
				}
				if e := p.Wait(); e.Signal != "SIGKILL" {
					t.Errorf("%+v", e)
				}
				for _, dir := range h.groups.bases() {
					if left := folders(h.groups.folder(dir)); len(left) > 0 {
						t.Errorf("left: %q", left)
					}
				}
			})
		}
	}
}

func TestLimitsOfVersion1Alone(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("control groups need root")
	}
	if version, _ := findGround(newTree("/"), "/", true, writable).limits(); version != 1 {
		t.Skipf("limits are version %d here", version)
	}
	h := onGround(t, lesserGrounds["version 1 alone"])
	p, err := h.Start(Command{ID: "t", Limits: Limits{Memory: 32 << 20},
		Args: []string{"/bin/sh", "-c", `awk 'BEGIN { s = "x"; while (length(s) < 200000000) s = s s }'`}})
	if err != nil {
		t.Fatal(err)
	}
	if e := p.Wait(); !e.OOM || e.User+e.System <= 0 {
		t.Errorf("%+v", e)
	}
	if p.Kill() != nil || len(folders(h.groups.folder(h.groups.ground.v1["memory"]))) > 0 {
		t.Error("the group is left")
	}
}

func TestGroupsAreUsedAgainUnlessKilled(t *testing.T) {
	h := NewReal(RealOptions{StateDir: t.TempDir()})
	defer h.Close()
	run := func(kill bool) {
		p, err := h.Start(Command{ID: "t", Args: []string{"/bin/sleep", map[bool]string{true: "1000", false: "0"}[kill]}})
		if err != nil {
			t.Fatal(err)
		}
		if kill {
			p.Kill()
		}
		if e := p.Wait(); e.OK() == kill {
			t.Fatalf("%+v", e)
		}
	}
	for range 5 {
		run(false)
	}
	if h.groups.ground.unified == "" {
		t.Skip("no version 2 groups here")
	}
	if h.groups.made != 1 || len(h.groups.kept) != 1 {
		t.Errorf("made %d groups, kept %d", h.groups.made, len(h.groups.kept))
	}
	run(true)
	run(false)
	if h.groups.made != 2 || len(h.groups.kept) != 1 {
		t.Errorf("after a kill: made %d groups, kept %d", h.groups.made, len(h.groups.kept))
	}
}

func TestRemovedGroupsAreMadeAgain(t *testing.T) {
	h := NewReal(RealOptions{StateDir: t.TempDir()})
	defer h.Close()
	for range 3 {
		p, err := h.Start(Command{ID: "t", Args: []string{"/bin/true"}, Limits: Limits{PIDs: 10}})
		if err != nil {
			t.Fatal(err)
		}
		if e := p.Wait(); !e.OK() {
			t.Errorf("%+v", e)
		}
		for _, base := range h.groups.bases() {
			removeTree(h.groups.folder(base))
		}
		if p, err = h.Start(Command{ID: "t", Args: []string{"/bin/true"}}); err != nil {
			t.Fatal(err)
		}
		if e := p.Wait(); !e.OK() {
			t.Errorf("%+v", e)
		}
	}
	if version2 := findGround(newTree("/"), "/", os.Geteuid() == 0, writable).unified; h.groups.ground.unified != version2 {
		t.Error("version 2 was given up")
	}
}

func TestGroupOfADaemonIsNotLentAgain(t *testing.T) {
	h := NewReal(RealOptions{StateDir: t.TempDir()})
	defer h.Close()
	file := filepath.Join(t.TempDir(), "pid")
	p, err := h.Start(Command{ID: "first", Env: []string{"F=" + file},
		Args: []string{"/bin/sh", "-c", `(setsid sh -c 'echo $$ > $F; exec sleep 1000' &); while [ ! -s $F ]; do sleep 0.01; done`}})
	if err != nil {
		t.Fatal(err)
	}
	p.Wait()
	daemon := waitForPid(t, file)
	q, err := h.Start(Command{ID: "second", Args: []string{"/bin/true"}})
	if err != nil {
		t.Fatal(err)
	}
	q.Wait()
	q.Kill()
	if err := syscall.Kill(daemon, 0); err != nil {
		t.Error("the second task's kill reached the first one's daemon")
	}
	if err := p.Kill(); err != nil {
		t.Error(err)
	}
	if d, ok := readProc(daemon); ok && d.alive() {
		t.Error("the daemon lives on")
	}
}

func waitForPid(t *testing.T, file string) int {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		data, _ := os.ReadFile(file)
		if pid, err := strconv.Atoi(strings.TrimSpace(string(data))); err == nil && strings.HasSuffix(string(data), "\n") {
			return pid
		}
	}
	t.Fatal("no number in " + file)
	return 0
}
