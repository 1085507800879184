package keeper_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"bramble/host"
)

// fakeHost forks for real, without control groups: a tree is a process group and what carries its mark.
type fakeHost struct{ host.Host }

func newHost(testing.TB, string) host.Host { return fakeHost{} }

func (fakeHost) Facts(context.Context) (host.Facts, error) { return host.Facts{}, nil }

func (fakeHost) Start(c host.Command) (host.Process, error) {
	path, err := exec.LookPath(c.Args[0])
	if err != nil {
		return nil, err
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	p, err := os.StartProcess(path, c.Args, &os.ProcAttr{
		Env: append([]string{"BRAMBLE_TASK=" + c.ID}, c.Env...), Dir: c.Dir,
		Files: []*os.File{null, c.Stdout, c.Stderr}, Sys: &syscall.SysProcAttr{Setpgid: true},
	})
	if err != nil {
		return nil, err
	}
	return &fakeProcess{child: p, began: time.Now()}, nil
}

type fakeProcess struct {
	host.Process
	child *os.Process
	began time.Time
}

func (p *fakeProcess) Pid() int                 { return p.child.Pid }
func (p *fakeProcess) Signal(s os.Signal) error { return syscall.Kill(-p.Pid(), s.(syscall.Signal)) }
func (p *fakeProcess) Kill() error {
	if err := syscall.Kill(-p.Pid(), syscall.SIGKILL); err != syscall.ESRCH {
		return err
	}
	return nil
}

func (p *fakeProcess) Wait() host.Exit {
	state, err := p.child.Wait()
	if err != nil {
		return host.Exit{Code: -1}
	}
	exit := host.Exit{Code: state.ExitCode(), Wall: time.Since(p.began)}
	if w := state.Sys().(syscall.WaitStatus); w.Signaled() {
		exit.Signal = map[syscall.Signal]string{syscall.SIGKILL: "SIGKILL", syscall.SIGTERM: "SIGTERM"}[w.Signal()]
	}
	return exit
}

func (fakeHost) Leftovers(prefix string) (ids []string, err error) {
	for id := range marked() {
		if strings.HasPrefix(id, prefix) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

func (fakeHost) Adopt(id string) (host.Process, error) { return orphan{pids: marked()[id]}, nil }

type orphan struct {
	host.Process
	pids []int
}

func (o orphan) Kill() error {
	for _, pid := range o.pids {
		syscall.Kill(pid, syscall.SIGKILL)
	}
	return nil
}

func (o orphan) Wait() host.Exit { return host.Exit{Code: -1} }

// marked finds processes by the mark in their environment.
func marked() map[string][]int {
	found := map[string][]int{}
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, f := range files {
		text, _ := os.ReadFile(f)
		for v := range strings.SplitSeq(string(text), "\x00") {
			if id, ok := strings.CutPrefix(v, "BRAMBLE_TASK="); ok {
				pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(f)))
				found[id] = append(found[id], pid)
			}
		}
	}
	return found
}
