package host_test

import (
	"net"
	"path/filepath"
	"testing"
	"time"

	"bramble/host"
)

func TestNotify(t *testing.T) {
	for _, name := range []string{filepath.Join(t.TempDir(), "s"), "@host-test-" + filepath.Base(t.TempDir()) + time.Now().Format("150405.000000")} {
		systemd, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		defer systemd.Close()
		if err := host.Notify(name, "READY=1"); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 100)
		if n, err := systemd.Read(buf); err != nil || string(buf[:n]) != "READY=1" {
			t.Errorf("%q, %v", buf[:n], err)
		}
	}
	if err := host.Notify("", "READY=1"); err != nil {
		t.Error(err)
	}
	if err := host.Notify(filepath.Join(t.TempDir(), "none"), "READY=1"); err == nil {
		t.Error("nobody listens, and no error")
	}
}

func TestWatchdogInterval(t *testing.T) {
	cases := []struct {
		usec, pid string
		want      time.Duration
	}{
		{"30000000", "", 15 * time.Second},
		{"30000000", "77", 15 * time.Second},
		{"30000000", "78", 0}, // meant for another process
		{"", "", 0},
		{"-1", "", 0},
		{"soon", "", 0},
	}
	for _, c := range cases {
		env := map[string]string{"WATCHDOG_USEC": c.usec, "WATCHDOG_PID": c.pid}
		if got := host.WatchdogInterval(func(k string) string { return env[k] }, 77); got != c.want {
			t.Errorf("%+v: got %v", c, got)
		}
	}
}
