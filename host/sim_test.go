package host_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"bramble/fault"
	"bramble/host"
)

func newSim(t *testing.T, opts host.SimOptions) *host.Sim {
	t.Helper()
	s, err := host.NewSim(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestSimulatedBoardsAreTheFixtures(t *testing.T) {
	models := map[string]string{"pi1": "pi1", "pizero": "pizerow", "pi2": "pi2", "pi3": "pi3b", "pi4": "pi4", "pi5": "pi5",
		"odroid": "odroid", "orangepi": "orangepi", "x86": "x86"}
	for model, board := range models {
		got, err := newSim(t, host.SimOptions{Seed: 7, Model: model}).Facts(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range boards {
			if b.board != board {
				continue
			}
			want := b.want
			if got.Model != want.Model || got.Board != want.Board || got.Revision != want.Revision || got.Arch != want.Arch ||
				got.OS != want.OS || got.Kernel != want.Kernel || got.Cores != want.Cores || got.Memory != want.Memory {
				t.Errorf("%s:\ngot  %+v\nwant %+v", model, got, want)
			}
			break
		}
		if got.Hostname == "" || got.Disk == 0 || len(got.Links) != 1 || len(got.BootID) != 36 || len(got.Missing) > 0 {
			t.Errorf("%s: %+v", model, got)
		}
	}
	if _, err := host.NewSim(host.SimOptions{Model: "cray"}); !fault.Is(err, fault.NotFound) {
		t.Error(err)
	}
}

func TestSimulationFollowsItsSeed(t *testing.T) {
	record := func(seed uint64) (samples []host.Sample, facts host.Facts) {
		synctest.Test(t, func(t *testing.T) {
			s := newSim(t, host.SimOptions{Seed: seed, Model: "pi4"})
			facts, _ = s.Facts(context.Background())
			for range 200 {
				time.Sleep(5 * time.Second)
				one, err := s.Sample(context.Background())
				if err != nil {
					t.Fatal(err)
				}
				samples = append(samples, one)
			}
		})
		return samples, facts
	}
	a, fa := record(1)
	b, fb := record(1)
	c, fc := record(2)
	if !reflect.DeepEqual(a, b) || !reflect.DeepEqual(fa, fb) {
		t.Error("the same seed gave two answers")
	}
	if reflect.DeepEqual(a, c) || fa.BootID == fc.BootID || fa.Links[0].MAC == fc.Links[0].MAC || fa.Hostname == fc.Hostname {
		t.Error("two seeds gave the same answer")
	}
	temps := map[float64]bool{}
	for i, s := range a {
		temps[s.Temp] = true
		if s.CPU < 0 || s.CPU > 1 || s.Load < 0 || s.MemUsed <= 0 || s.MemUsed > s.MemTotal || s.Temp < 30 || s.Temp > 80 || s.DiskFree <= 0 {
			t.Errorf("not believable: %+v", s)
		}
		if i > 0 && (s.RxBytes < a[i-1].RxBytes || s.TxBytes < a[i-1].TxBytes || s.Uptime <= a[i-1].Uptime) {
			t.Errorf("a counter fell: %+v after %+v", s, a[i-1])
		}
	}
	if len(temps) < 10 || a[199].RxBytes == a[0].RxBytes {
		t.Error("nothing moves")
	}
}

func TestSimulatedCommands(t *testing.T) {
	s := newSim(t, host.SimOptions{Seed: 5, Model: "pi1", Hostname: "board"})
	cases := []struct {
		args     string
		out, err string
		code     int
	}{
		{"true", "", "", 0},
		{"/bin/false", "", "", 1},
		{"exit 42", "", "", 42},
		{"exit", "", "", 0},
		{"sleep 0.01", "", "", 0},
		{"echo one two", "one two\n", "", 0},
		{"hostname", "board\n", "", 0},
		{"uname", "Linux\n", "", 0},
		{"uname -m", "armv6l\n", "", 0},
		{"cat", "", "", 0}, // of /dev/null
		{"mpirun x", "", "mpirun: this machine is simulated and has no such command\n", 127},
	}
	for _, c := range cases {
		r := run(t, s, host.Command{ID: "t", Args: strings.Fields(c.args)})
		if r.out != c.out || r.err != c.err || r.exit.Code != c.code || r.exit.Signal != "" {
			t.Errorf("%s: got %+v", c.args, r)
		}
	}
	if _, err := s.Start(host.Command{ID: "t"}); !fault.Is(err, fault.Misused) {
		t.Error(err)
	}
}

func TestSimulatedCat(t *testing.T) {
	s := newSim(t, host.SimOptions{})
	in, theirs, err1 := os.Pipe()
	ours, out, err2 := os.Pipe()
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	p, err := s.Start(host.Command{ID: "t", Args: []string{"cat"}, Stdin: in, Stdout: out})
	if err != nil {
		t.Fatal(err)
	}
	in.Close() // as after a real start
	out.Close()
	go func() { io.WriteString(theirs, strings.Repeat("x", 1<<20)); theirs.Close() }()
	got, err := io.ReadAll(ours)
	if err != nil || len(got) != 1<<20 || !p.Wait().OK() {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func TestSimulatedKillAndSignal(t *testing.T) {
	s := newSim(t, host.SimOptions{})
	stuck, held, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	start := func(args ...string) host.Process {
		p, err := s.Start(host.Command{ID: "t", Args: args, Stdin: stuck})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	p := start("sleep", "1000")
	p.Signal(syscall.SIGUSR1)
	p.Signal(syscall.SIGTERM)
	if e := p.Wait(); e.Signal != "SIGTERM" || e.Code != -1 {
		t.Errorf("%+v", e)
	}
	if err := p.Signal(syscall.SIGTERM); !errors.Is(err, os.ErrProcessDone) {
		t.Error(err)
	}
	q := start("cat")
	q.Kill()
	if e := q.Wait(); e.Signal != "SIGKILL" {
		t.Errorf("%+v", e)
	}
	before, _ := s.Sample(context.Background())
	r := start("sleep", "1000")
	after, _ := s.Sample(context.Background())
	if after.CPU <= before.CPU || after.Load <= before.Load {
		t.Error("a running command makes no load")
	}
	s.Close()
	if e := r.Wait(); e.Signal != "SIGKILL" {
		t.Errorf("%+v", e)
	}
}

func TestSimulatedTerminal(t *testing.T) {
	s := newSim(t, host.SimOptions{})
	p, err := s.Start(host.Command{ID: "t", Args: []string{"cat"}, TTY: &host.Size{Rows: 24, Cols: 80}})
	if err != nil {
		t.Fatal(err)
	}
	go io.WriteString(p.Terminal(), "hello")
	buf := make([]byte, 5)
	if _, err := io.ReadFull(p.Terminal(), buf); err != nil || string(buf) != "hello" {
		t.Errorf("%q, %v", buf, err)
	}
	p.Kill()
	if _, err := p.Terminal().Read(buf); err != io.EOF {
		t.Errorf("after the end: %v", err)
	}
}

func TestSimulatedTerminalWithoutReader(t *testing.T) {
	p, err := newSim(t, host.SimOptions{}).Start(host.Command{ID: "t", Args: []string{"true"}, TTY: &host.Size{Rows: 24, Cols: 80}})
	if err != nil || !p.Wait().OK() {
		t.Error("true does not end", err)
	}
}

func TestTenThousandSimulatedMachines(t *testing.T) {
	before := runtime.NumGoroutine()
	files := countFiles()
	sims := make([]*host.Sim, 10_000)
	procs := make([]host.Process, len(sims))
	for i := range sims {
		var err error
		if sims[i], err = host.NewSim(host.SimOptions{Seed: uint64(i)}); err != nil {
			t.Fatal(err)
		}
		if procs[i], err = sims[i].Start(host.Command{ID: fmt.Sprint(i), Args: []string{"sleep", "1000"}, Stdout: os.Stdout}); err != nil {
			t.Fatal(err)
		}
	}
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	if each := (m.HeapInuse + m.StackInuse) / uint64(len(sims)); each > 16<<10 {
		t.Errorf("%d bytes each", each)
	}
	if countFiles() > files+10 {
		t.Errorf("%d files are open", countFiles())
	}
	for _, s := range sims {
		s.Close()
	}
	eventually(t, "no more goroutines than before", func() bool { return runtime.NumGoroutine() <= before })
}
