package lab_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bramble/event"
	"bramble/fan"
	"bramble/fault"
	"bramble/fleet"
	hostnet "bramble/host/net"
	"bramble/lab"
	"bramble/lab/labtest"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("namespaces need root")
	}
}

// Every lab of this test is of both kinds.
func both(t *testing.T, test func(t *testing.T, opts ...func(*lab.Options))) {
	t.Run("namespaces", func(t *testing.T) {
		needRoot(t)
		t.Parallel()
		test(t)
	})
	t.Run("loopback", func(t *testing.T) {
		t.Parallel()
		test(t, labtest.Loopback)
	})
}

func TestUpRunAndDown(t *testing.T) {
	both(t, func(t *testing.T, opts ...func(*lab.Options)) {
		l := labtest.Up(t, 3, opts...)
		l.Await("head,node[1-3]", fleet.Up)
		out := l.Must("run", "--on", "all", "--", `echo "$BRAMBLE_NODE on $(hostname)"; echo x >>/tmp/bramble-lab-test-$PPID`)
		machine, _ := os.Hostname()
		for _, name := range []string{"head", "node1", "node2", "node3"} {
			host := name
			if len(opts) > 0 {
				host = machine
			}
			if want := fmt.Sprintf("%s on %s", name, host); !strings.Contains(out, want) {
				t.Errorf("no %q in\n%s", want, out)
			}
		}
		found, _ := filepath.Glob("/tmp/bramble-lab-test-*")
		if isPrivate := len(opts) == 0; isPrivate && len(found) > 0 {
			t.Errorf("the machine sees the nodes' /tmp: %v", found)
		} else if !isPrivate && len(found) == 0 {
			t.Error("without namespaces, /tmp should be the machine's")
		}
		for _, path := range found {
			os.Remove(path)
		}
		l.Must("run", "--on", "node1", "--", "setsid sh -c 'sleep 1000 & sleep 1000' >/dev/null 2>&1 & exit 0")
		var pids []int
		labtest.Until(t, "agents, keepers and three tasks", func() bool {
			pids = allPids(t, l)
			return len(pids) >= 4*2+3
		}, func() string { return fmt.Sprint(pids) })
		if err := l.Down(t.Context()); err != nil {
			t.Fatal(err)
		}
		nothingLeft(t, l, pids)
		if err := l.Down(t.Context()); err != nil {
			t.Errorf("a second time: %v", err)
		}
	})
}

func allPids(t *testing.T, l *labtest.Lab) (pids []int) {
	t.Helper()
	list, err := l.PS()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range list {
		if p.Agent == 0 || p.Keeper == 0 {
			t.Errorf("%s has agent %d and keeper %d", p.Node, p.Agent, p.Keeper)
		}
		pids = append(append(pids, p.Agent, p.Keeper), p.Tasks...)
	}
	return pids
}

// nothingLeft looks for processes, by number and by mark, namespaces, mounts, and files.
func nothingLeft(t *testing.T, l *labtest.Lab, pids []int) {
	t.Helper()
	for _, pid := range pids {
		if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil && !strings.Contains(string(stat), ") Z") {
			t.Errorf("process %d is left: %s", pid, stat)
		}
	}
	environs, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, path := range environs {
		if text, _ := os.ReadFile(path); strings.Contains(string(text), "BRAMBLE_LAB="+l.State) {
			t.Errorf("%s bears the lab's mark", path)
		}
	}
	if mounts, _ := os.ReadFile("/proc/self/mounts"); strings.Contains(string(mounts), l.State) || strings.Contains(string(mounts), hostnet.ID(l.State)) {
		t.Errorf("a mount is left in\n%s", mounts)
	}
	hash := fnv.New32a() // as host names a state folder's control groups
	for _, node := range []string{"head", "node1", "node2", "node3"} {
		hash.Reset()
		io.WriteString(hash, filepath.Join(l.State, node))
		if groups, _ := filepath.Glob(fmt.Sprintf("/sys/fs/cgroup/*/bramble/%08x/*-*", hash.Sum32())); len(groups) > 0 {
			t.Errorf("control groups are left: %v", groups)
		}
	}
	if names, _ := filepath.Glob("/run/netns/*" + hostnet.ID(l.State) + "*"); len(names) > 0 {
		t.Errorf("namespaces are left: %v", names)
	}
	if _, err := os.Stat(l.State); err == nil {
		t.Error("the state folder is left")
	}
}

func TestKillHangAndHeal(t *testing.T) {
	both(t, func(t *testing.T, opts ...func(*lab.Options)) {
		l := labtest.Up(t, 3, opts...)
		l.Must("run", "--on", "node1", "--", "setsid sleep 1000 >/dev/null 2>&1 & exit 0")
		must(t, l.Kill(t.Context(), "node1"))
		must(t, l.Hang(t.Context(), "node2"))
		if list, err := l.PS(); err != nil || list[1].Agent != 0 || len(list[1].Tasks) > 0 || !list[1].Killed || list[2].Agent == 0 || !list[2].Hung {
			t.Errorf("after the faults: %+v, %v", list, err)
		}
		l.Await("node1", fleet.Down)
		if r := l.Bramble("run", "--on", "node[1,3]", "--", "true"); r.Code != 5 || !strings.Contains(r.Stderr, "node1") {
			t.Errorf("running on a dead node: %+v", r)
		}
		l.Await("node2", fleet.Suspect)
		l.Await("node3", fleet.Up)
		must(t, l.Heal(t.Context(), "node[1-3]"))
		l.Await("node[1-3]", fleet.Up)
		l.Must("run", "--on", "node[1-3]", "--", "true")
	})
}

func TestHeadKillAndHeal(t *testing.T) {
	both(t, func(t *testing.T, opts ...func(*lab.Options)) {
		l := labtest.Up(t, 3, opts...)
		c := l.Connect()
		must(t, l.Kill(t.Context(), "head"))
		if r := l.Bramble("nodes"); r.Code != 4 {
			t.Errorf("without a head: %+v", r)
		}
		labtest.Until(t, "a connection to be lost", func() bool { return !c.Conn.Connected() })
		_, err := c.Fleet.Nodes(t.Context())
		for _, streamed := range c.Events.List(t.Context(), event.Filter{}) {
			err = errors.Join(err, streamed)
		}
		if text := "the connection to the head was lost"; err == nil || err.Error() != text+"\n"+text {
			t.Errorf("who asks meanwhile, for an answer and for a stream, is told %v", err)
		}
		must(t, l.Heal(t.Context(), "head"))
		l.Await("head,node[1-3]", fleet.Up)
		l.Must("run", "--on", "all", "--", "true")
	})
}

func TestCutAndSlow(t *testing.T) {
	needRoot(t)
	t.Parallel()
	l := labtest.Up(t, 3, func(o *lab.Options) { o.Link, _ = hostnet.ParseRate("100mbit") })
	must(t, l.Slow(t.Context(), "node2", 1e6))
	const size, burst = 400_000, 32 << 10
	got, took := receive(t, l, "node2", fmt.Sprintf("head -c %d /dev/zero; sleep 4", size)) // fan waits only briefly for what a command that has ended wrote
	if least := time.Duration(got-burst) * 8 * time.Second / 1e6; got < size || took < least {
		t.Errorf("%d of %d bytes at 1 Mbit/s took %v, at least %v", got, size, took, least)
	}
	must(t, l.Cut(t.Context(), "node1"))
	l.Await("node1", fleet.Down)
	must(t, l.Heal(t.Context(), "node[1-2]"))
	l.Await("node[1-2]", fleet.Up)
	l.Must("run", "--on", "node[1-2]", "--", "true")
}

// receive counts the bytes that a command on a node writes, and tells how long it took to the last one.
func receive(t *testing.T, l *labtest.Lab, node, command string) (n int, took time.Duration) {
	t.Helper()
	begun := time.Now()
	for ev, err := range l.Connect().Fan.Run(t.Context(), fan.Request{On: node, Args: []string{command}}, nil) {
		if err != nil {
			t.Fatal(err)
		}
		if ev.Kind == fan.Stdout {
			n, took = n+len(ev.Data), time.Since(begun)
		}
	}
	return n, took
}

func TestFaultsThatNeedNamespaces(t *testing.T) {
	t.Parallel()
	l := labtest.Up(t, 1, labtest.Loopback)
	for name, err := range map[string]error{
		"cut":      l.Cut(t.Context(), "node1"),
		"slow":     l.Slow(t.Context(), "node1", 1e6),
		"stranger": l.Kill(t.Context(), "node2"),
		"nobody":   l.Kill(t.Context(), ""),
	} {
		if !fault.Is(err, fault.Misused) && !fault.Is(err, fault.NotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if list, err := l.PS(); err != nil || list[1].Agent == 0 || list[1].Faults != (lab.Faults{}) {
		t.Errorf("%+v, %v", list, err)
	}
}

// Two labs of one machine know nothing of each other.
func TestLabsSideBySide(t *testing.T) {
	t.Parallel()
	a, b := labtest.Up(t, 1, labtest.Loopback), labtest.Up(t, 1, labtest.Loopback)
	must(t, a.Kill(t.Context(), "head,node1"))
	b.Must("run", "--on", "all", "--", "true")
	must(t, a.Lab.Down(t.Context()))
	b.Must("run", "--on", "all", "--", "true")
}

func TestAFailedUpLeavesNothing(t *testing.T) {
	both(t, func(t *testing.T, opts ...func(*lab.Options)) {
		state := filepath.Join(t.TempDir(), "lab")
		script := filepath.Join(t.TempDir(), "bramble")
		text := fmt.Sprintf("#!/bin/sh\ncase $1 in join) echo 'node2 is broken' >&2; exit 1;; esac\nexec %s \"$@\"\n", labtest.Binary(t))
		must(t, os.WriteFile(script, []byte(text), 0o755))
		o := lab.Options{State: state, Nodes: 3, Exe: script}
		for _, opt := range opts {
			opt(&o)
		}
		_, err := lab.Up(t.Context(), o)
		if err == nil || !strings.Contains(err.Error(), "is broken") {
			t.Errorf("the error does not say what the agent said: %v", err)
		}
		nothingLeft(t, &labtest.Lab{Lab: &lab.Lab{State: state}}, nil)
	})
}

func TestAnInterruptedUpLeavesNothing(t *testing.T) {
	both(t, func(t *testing.T, opts ...func(*lab.Options)) {
		state := filepath.Join(t.TempDir(), "lab")
		ctx, cancel := context.WithCancel(t.Context())
		o := lab.Options{State: state, Nodes: 12, Exe: labtest.Binary(t), Joined: func(string) { cancel() }}
		for _, opt := range opts {
			opt(&o)
		}
		if _, err := lab.Up(ctx, o); !fault.Is(err, fault.Interrupted) {
			t.Errorf("got %v", err)
		}
		nothingLeft(t, &labtest.Lab{Lab: &lab.Lab{State: state}}, nil)
	})
}

func TestUpRefusesATakenFolder(t *testing.T) {
	t.Parallel()
	l := labtest.Up(t, 1, labtest.Loopback)
	o := lab.Options{State: l.State, Nodes: 1, NoNetns: true, Exe: labtest.Binary(t)}
	if _, err := lab.Up(t.Context(), o); !fault.Is(err, fault.Conflict) {
		t.Errorf("over a lab that is up: %v", err)
	}
	l.Must("run", "--on", "all", "--", "true")
	dir := t.TempDir()
	must(t, os.Mkdir(filepath.Join(dir, "head"), 0o755))
	o.State = dir
	if _, err := lab.Up(t.Context(), o); !fault.Is(err, fault.Conflict) {
		t.Errorf("over somebody's cluster: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "head")); err != nil {
		t.Error("it was removed")
	}
}

func TestCommandLine(t *testing.T) {
	t.Parallel()
	state := filepath.Join(t.TempDir(), "lab")
	l := &labtest.Lab{Lab: &lab.Lab{State: state}}
	t.Cleanup(func() { l.Lab.Down(context.Background()) })
	run := func(args ...string) string {
		t.Helper()
		r := labtest.Bramble(t, state, append([]string{"lab"}, args...)...)
		if r.Code != 0 {
			t.Fatalf("lab %v: %+v", args, r)
		}
		return r.Stdout
	}
	run("up", "--state", state, "--nodes", "2", "--no-netns")
	if out := run("kill", "--state", state, "node2"); out != "node2: killed (all its processes)\n" {
		t.Errorf("kill says %q", out)
	}
	var list []map[string]any
	must(t, json.Unmarshal([]byte(run("ps", "--state", state, "--json")), &list))
	if len(list) != 3 || list[0]["node"] != "head" || list[1]["agent"] == nil || list[2]["agent"] != nil || list[2]["killed"] != true {
		t.Errorf("ps: %v", list)
	}
	if out := run("heal", "--state", state, "node2"); out != "node2: healed (started again)\n" {
		t.Errorf("heal says %q", out)
	}
	run("down", "--state", state)
	nothingLeft(t, l, nil)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
