package hostnet_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"bramble/fault"
	hostnet "bramble/host/net"
)

func TestProgramsHaveNamesOfTheirOwn(t *testing.T) {
	n := up(t, 0, "head", "node01")
	homes := t.TempDir()
	machineName, _ := os.Hostname()
	machineHosts, _ := os.ReadFile("/etc/hosts")
	for _, node := range n.Nodes {
		got := output(t, program(t, n, node.Name, homes, "sh", "-c", "hostname; cat /etc/hostname; cat /etc/hosts"))
		want := node.Name + "\n" + node.Name + "\n127.0.0.1 localhost\n::1 localhost\n"
		for _, other := range n.Nodes {
			want += other.Addr.String() + " " + other.Name + "\n"
		}
		if got != want {
			t.Errorf("%s sees\n%swant\n%s", node.Name, got, want)
		}
	}
	if name, _ := os.Hostname(); name != machineName {
		t.Errorf("the machine is now called %s", name)
	}
	if hosts, _ := os.ReadFile("/etc/hosts"); string(hosts) != string(machineHosts) {
		t.Errorf("the machine's hosts are now %s", hosts)
	}
}

func TestTmpBelongsToTheNode(t *testing.T) {
	n := up(t, 0, "node01", "node02")
	homes := t.TempDir()
	name := "hostnet-" + newLab()
	output(t, program(t, n, "node01", homes, "sh", "-c", "echo mine >/tmp/"+name+"; stat -c %a /tmp"))
	if got := output(t, program(t, n, "node01", homes, "cat", "/tmp/"+name)); got != "mine\n" {
		t.Errorf("the node's next program finds %q", got)
	}
	if got := output(t, program(t, n, "node02", homes, "ls", "/tmp")); strings.Contains(got, name) {
		t.Error("another node sees it")
	}
	if _, err := os.Stat("/tmp/" + name); err == nil {
		t.Error("the machine sees it")
	}
	if got := output(t, program(t, n, "node02", homes, "stat", "-c", "%a", "/tmp")); got != "1777\n" {
		t.Errorf("the mode of /tmp is %s", got)
	}
}

func TestSharedMemoryBelongsToTheNode(t *testing.T) {
	n := up(t, 0, "node01")
	if info, err := os.Stat("/dev/shm"); err != nil || !info.IsDir() {
		t.Skip("this machine has none")
	}
	name := "hostnet-" + newLab()
	if got := output(t, program(t, n, "node01", t.TempDir(), "sh", "-c", "echo mine >/dev/shm/"+name+"; ls /dev/shm; stat -c %a /dev/shm")); got != name+"\n1777\n" {
		t.Errorf("the node's memory holds %q", got)
	}
	if _, err := os.Stat("/dev/shm/" + name); err == nil {
		t.Error("the machine sees it")
	}
}

// The test's folders and its binary lie below /tmp, where the private one would hide them.
func TestWhatIsNeededStaysVisibleBelowTmp(t *testing.T) {
	n := up(t, 0, "node01")
	dir := t.TempDir()
	if !strings.HasPrefix(dir, "/tmp/") {
		if dir, _ = os.MkdirTemp("/tmp", "hostnet"); dir == "" {
			t.Fatal("no folder below /tmp")
		}
		defer os.RemoveAll(dir)
	}
	file := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		os.MkdirAll(filepath.Dir(path), 0o755)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	script := file("bin/script", "#!/bin/sh\npwd; cat here; cat \"$1\"; cat \"$2\" 2>/dev/null || echo hidden\n", 0o755)
	file("work/here", "work\n", 0o644)
	kept, other := file("kept/data", "kept\n", 0o644), file("other/data", "other\n", 0o644)
	entry, err := n.Entry("node01", filepath.Join(dir, "home"))
	if err != nil {
		t.Fatal(err)
	}
	entry.Keep = []string{filepath.Join(dir, "kept")}
	cmd := program(t, n, "node01", dir, "true")
	cmd.Args = entry.Argv(cmd.Path, script, kept, other)
	cmd.Dir = filepath.Join(dir, "work")
	if got, want := output(t, cmd), cmd.Dir+"\nwork\nkept\nhidden\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if text, err := os.ReadFile(script); err != nil || len(text) == 0 {
		t.Errorf("the machine's own file: %q, %v", text, err)
	}
}

func TestTheProgramIsTheProcessThatWasStarted(t *testing.T) {
	n := up(t, 0, "node01")
	cmd := program(t, n, "node01", t.TempDir(), "sh", "-c", "echo $$; echo $GREETING; exit 7")
	cmd.Env = append(os.Environ(), "GREETING=hello there")
	out, err := cmd.Output()
	if want := fmt.Sprintf("%d\nhello there\n", cmd.Process.Pid); string(out) != want || cmd.ProcessState.ExitCode() != 7 {
		t.Errorf("%q, %v; want %q and exit status 7", out, err, want)
	}
}

func TestEnterSaysWhatIsMissing(t *testing.T) {
	n := up(t, 0, "node01")
	for name, change := range map[string]func(*hostnet.Entry, *[]string){
		"no program nonesuch":      func(_ *hostnet.Entry, args *[]string) { *args = []string{"nonesuch"} },
		"no network namespace":     func(e *hostnet.Entry, _ *[]string) { e.Namespace += "x" },
		"for bramble's own use":    func(_ *hostnet.Entry, args *[]string) { *args = nil },
		"no such file or director": func(e *hostnet.Entry, _ *[]string) { e.Home += "/gone" },
	} {
		entry, err := n.Entry("node01", t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		args := []string{"true"}
		change(&entry, &args)
		cmd := program(t, n, "node01", t.TempDir(), "true")
		cmd.Args = entry.Argv(cmd.Path, args...)
		out, _ := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != 125 || !strings.Contains(string(out), name) {
			t.Errorf("want %q, got %q", name, out)
		}
	}
	if _, err := n.Entry("nobody", t.TempDir()); !fault.Is(err, fault.NotFound) {
		t.Errorf("a node that is not there: %v", err)
	}
}

// forking is a program that has five hundred children, most of which it starts while the test signals them.
const forking = `i=0; while [ $i -lt 500 ]; do sleep 100 & i=$((i+1)); [ $i = 20 ] && echo going; done; wait`

func startForking(t *testing.T, n *hostnet.Network, node, homes string) {
	t.Helper()
	cmd := program(t, n, node, homes, "sh", "-c", forking)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		n.Signal(context.WithoutCancel(t.Context()), node, syscall.SIGKILL)
		cmd.Wait()
	})
	if _, err := stdout.Read(make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
}

func TestKillEndsEveryProcessOfOneNode(t *testing.T) {
	n := up(t, 0, "node01", "node02")
	homes := t.TempDir()
	startForking(t, n, "node01", homes)
	bystander := program(t, n, "node02", homes, "sleep", "100")
	if err := bystander.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bystander.Process.Kill(); bystander.Wait() })
	until(t, "a process on node02", func() bool {
		all, err := n.Processes()
		return err == nil && len(all["node02"]) == 1
	})
	count, err := n.Signal(t.Context(), "node01", syscall.SIGKILL)
	if err != nil || count < 20 {
		t.Errorf("killed %d: %v", count, err)
	}
	all, err := n.Processes()
	if err != nil || len(all["node01"]) > 0 || len(all["node02"]) != 1 || all["node02"][0] != bystander.Process.Pid {
		t.Errorf("alive: %v, %v; want only %d on node02", all, err, bystander.Process.Pid)
	}
}

// A node is killed as by a power cut: who holds the pipe of a process with a lower number, which is killed before it, does
// not see that process die.
func TestKilledProcessesDoNotSeeEachOtherDie(t *testing.T) {
	n := up(t, 0, "node01")
	homes := t.TempDir()
	seen := filepath.Join(homes, "node01", "seen") // of /tmp a node sees its home alone
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	first := program(t, n, "node01", homes, "sleep", "100")
	first.ExtraFiles = []*os.File{w}
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { first.Process.Kill(); first.Wait() })
	startForking(t, n, "node01", homes)
	until(t, "many to be between the two", func() bool {
		all, err := n.Processes()
		return err == nil && len(all["node01"]) > 500
	})
	last := program(t, n, "node01", homes, "sh", "-c", `echo waiting; read x <&3; echo it died >"$0"`, seen)
	last.ExtraFiles = []*os.File{r}
	stdout, err := last.StdoutPipe()
	if err := errors.Join(err, last.Start(), r.Close(), w.Close()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { last.Process.Kill(); last.Wait() })
	if _, err := stdout.Read(make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Signal(t.Context(), "node01", syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(seen); err == nil {
		t.Errorf("one process saw another die: %s", text)
	}
}

func TestHangAndGoOn(t *testing.T) {
	n := up(t, 0, "node01")
	startForking(t, n, "node01", t.TempDir())
	hung, err := n.Signal(t.Context(), "node01", syscall.SIGSTOP)
	if err != nil {
		t.Fatal(err)
	}
	all, err := n.Processes()
	if err != nil || len(all["node01"]) != hung {
		t.Errorf("%d were stopped, and there are %d: %v", hung, len(all["node01"]), err)
	}
	for _, pid := range all["node01"] {
		until(t, "a process to stop", func() bool { return state(t, pid) == 'T' })
	}
	if again, err := n.Processes(); err != nil || len(again["node01"]) != hung {
		t.Errorf("%d were stopped, and now there are %d: %v", hung, len(again["node01"]), err)
	}
	if count, err := n.Signal(t.Context(), "node01", syscall.SIGCONT); err != nil || count < hung {
		t.Errorf("%d of %d go on: %v", count, hung, err)
	}
	for _, pid := range all["node01"] {
		until(t, "a process to go on", func() bool { return state(t, pid) != 'T' })
	}
}

// state is the letter in /proc/PID/stat.
func state(t *testing.T, pid int) byte {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	return stat[strings.LastIndexByte(string(stat), ')')+2]
}
