package host_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"bramble/host"
)

// ill are the checks that are not OK on a fixture, at a time when clocks are right.
func TestDoctorOnEveryBoard(t *testing.T) {
	cases := map[string]string{
		"pi1": "limits", "pizerow": "limits", "pi2": "limits",
		"pi3b":     "power",                    // 50000: it was too low
		"pi3bplus": "limits power temperature", // d000d: too low and too hot now
		"pi4":      "",
		"pi5":      "power", // the sensor's alarm
		"odroid":   "open files account",
		"orangepi": "",
		"x86":      "", // not root: no account is wanted
	}
	for board, want := range cases {
		t.Run(board, func(t *testing.T) {
			h := fixture(t, board, "arm64", "")
			f, _ := h.Facts(context.Background())
			s, _ := h.Sample(context.Background())
			f.Disk, s.DiskFree = 32<<30, 16<<30
			s.At = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
			var ill []string
			for _, c := range host.Doctor("testdata/"+board, f, s) {
				if c.Name == "" || c.Text == "" || c.OK != (c.Try == "") {
					t.Errorf("incomplete: %+v", c)
				}
				if !c.OK {
					ill = append(ill, c.Name)
				}
			}
			if got := strings.Join(ill, " "); got != want {
				t.Errorf("ill is %q, want %q", got, want)
			}
		})
	}
}

func TestDoctorSaysWhatToType(t *testing.T) {
	ok := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	cases := []struct {
		what, board, check, text, try string
		change                        func(*host.Facts, *host.Sample)
	}{
		{"memory controller, Debian 12", "pi1", "limits", "memory", "/boot/firmware/cmdline.txt", nil},
		{"memory controller, Debian 11", "pi2", "limits", "memory", "/boot/cmdline.txt", nil},
		{"not root", "x86", "limits", "belong to root", "sudo", func(f *host.Facts, _ *host.Sample) { f.Cgroup, f.Limits = 0, nil }},
		{"no groups", "pi4", "limits", "cpu, memory, pids", "mount", func(f *host.Facts, _ *host.Sample) {
			f.Cgroup, f.Limits, f.Board = 0, nil, "other"
		}},
		{"clock never set", "pi4", "time", "wrong", "timedatectl", func(_ *host.Facts, s *host.Sample) { s.At = time.Unix(86400, 0) }},
		{"clock behind the last known time", "pi1", "time", "2026-02-03", "timedatectl", func(_ *host.Facts, s *host.Sample) {
			s.At = time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)
		}},
		{"synchronised", "pi4", "time", "synchronised", "", nil},
		{"disk full", "pi4", "disk", "100 MiB of 32.0 GiB free", "du", func(_ *host.Facts, s *host.Sample) { s.DiskFree = 100 << 20 }},
		{"disk nearly full", "pi4", "disk", "1.0 GiB of 32.0 GiB free", "du", func(_ *host.Facts, s *host.Sample) { s.DiskFree = 1 << 30 }},
		{"hot by the sensor alone", "odroid", "temperature", "85 °C", "fan", func(_ *host.Facts, s *host.Sample) { s.Temp = 85 }},
		{"throttled by voltage is not heat", "pi4", "temperature", "45 °C", "", func(_ *host.Facts, s *host.Sample) { s.Throttled = 0x5 }},
		{"was hot", "pi4", "temperature", "since boot", "", func(_ *host.Facts, s *host.Sample) { s.Throttled = 0x80000 }},
		{"no account", "odroid", "account", "nobody", "useradd", nil},
		{"unread", "pi4", "board", "/proc/cpuinfo", "mount", func(f *host.Facts, _ *host.Sample) { f.Missing = []string{"/proc/cpuinfo"} }},
	}
	for _, c := range cases {
		t.Run(c.what, func(t *testing.T) {
			h := fixture(t, c.board, "arm64", "")
			f, _ := h.Facts(context.Background())
			s, _ := h.Sample(context.Background())
			f.Disk, s.DiskFree, s.At = 32<<30, 16<<30, ok
			if c.change != nil {
				c.change(&f, &s)
			}
			checks := host.Doctor("testdata/"+c.board, f, s)
			i := slices.IndexFunc(checks, func(x host.Check) bool { return x.Name == c.check })
			got := checks[i]
			if !strings.Contains(got.Text, c.text) || !strings.Contains(got.Try, c.try) || got.OK != (c.try == "") {
				t.Errorf("got %+v", got)
			}
		})
	}
}
