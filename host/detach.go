package host

import (
	"fmt"
	"os"
	"strings"
	"syscall"
)

// Detach starts a program that outlives this process: in a session of its own, with what it says appended to a log. It is this
// process's child all the same, for as long as that lives.
func Detach(log, exe string, args ...string) (*os.Process, error) {
	out, err := os.OpenFile(log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	child, err := os.StartProcess(exe, append([]string{exe}, args...), &os.ProcAttr{
		Env: Heritage(os.Environ()), Files: []*os.File{null, out, out}, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", exe, err)
	}
	return child, nil
}

// Heritage is an environment without what systemd said to this process alone, and without a task's mark.
func Heritage(env []string) (kept []string) {
	for _, v := range env {
		switch name, _, _ := strings.Cut(v, "="); name {
		case "NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_FDS", "LISTEN_PID", markName:
		default:
			kept = append(kept, v)
		}
	}
	return kept
}
