package lab

import (
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// A process that was told to stop counts as running until each of its threads has stopped.
func TestStill(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	p, ok := readStat(cmd.Process.Pid)
	if !ok || !p.runs() {
		t.Fatalf("it runs, and counts as stopped: %+v", p)
	}
	if !p.signal(syscall.SIGSTOP) {
		t.Fatal("it is not there")
	}
	p.still(t.Context())
	if p.runs() {
		t.Error("it has stopped, and counts as running")
	}
	p.signal(syscall.SIGCONT)
	for begun := time.Now(); !p.runs(); time.Sleep(time.Millisecond) {
		if time.Since(begun) > time.Minute {
			t.Fatal("it goes on, and counts as stopped")
		}
	}
}
