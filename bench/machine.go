package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// machine is what the figures were taken on.
type machine struct {
	cpu, kernel, memory, load string
	cores                     int
}

func thisMachine(ctx context.Context) machine {
	m := machine{cpu: field("/proc/cpuinfo", "model name"), memory: field("/proc/meminfo", "MemTotal"), cores: runtime.NumCPU()}
	if m.cpu == "" {
		m.cpu = strings.TrimRight(firstLine("/proc/device-tree/model"), "\x00") // boards name themselves
	}
	m.kernel = firstLine("/proc/sys/kernel/osrelease")
	m.load, _, _ = strings.Cut(firstLine("/proc/loadavg"), " ")
	return m
}

func (m machine) table(begun time.Time, took time.Duration) string {
	return table([][]string{
		{"machine", ""},
		{"processor", fmt.Sprintf("%s, %d cores", m.cpu, m.cores)},
		{"memory", m.memory},
		{"kernel", runtime.GOOS + " " + m.kernel},
		{"Go", runtime.Version() + " " + runtime.GOARCH},
		{"load before", m.load},
		{"date", begun.UTC().Format("2006-01-02 15:04 MST")},
		{"took", took.Round(time.Second).String()},
	})
}

// field is the first value of a name in a file of "name: value" lines.
func field(path, name string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if key, value, ok := strings.Cut(s.Text(), ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func firstLine(path string) string {
	text, _ := os.ReadFile(path)
	line, _, _ := strings.Cut(string(text), "\n")
	return line
}

// missing names those programs that are not installed.
func missing(programs ...string) []string {
	var not []string
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			not = append(not, p)
		}
	}
	return not
}

// command runs a program to its end; the error carries what it said.
func command(ctx context.Context, env []string, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, lastWords(string(out)))
	}
	return nil
}

// lastWords is the last non-empty line of what a program said.
func lastWords(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexByte(text, '\n')+1:]
}
