package host_test

import (
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"

	"bramble/host"
)

// BenchmarkStart and BenchmarkBare stand side by side: Start is to reach 0.9 of the bare rate.
func BenchmarkStart(b *testing.B) {
	h := host.NewReal(host.RealOptions{StateDir: b.TempDir()})
	defer h.Close()
	n := 0
	defer cpuTime(b)()
	for b.Loop() {
		n++
		p, err := h.Start(host.Command{ID: strconv.Itoa(n), Args: []string{"/bin/true"}})
		if err != nil {
			b.Fatal(err)
		}
		if e := p.Wait(); !e.OK() {
			b.Fatal(e)
		}
	}
}

// BenchmarkBare is Go's own fork and exec.
func BenchmarkBare(b *testing.B) {
	defer cpuTime(b)()
	for b.Loop() {
		p, err := os.StartProcess("/bin/true", []string{"/bin/true"}, &os.ProcAttr{Files: []*os.File{nil, nil, nil}})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := p.Wait(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkStartLimited shows what a group with limits costs.
func BenchmarkStartLimited(b *testing.B) {
	h := host.NewReal(host.RealOptions{StateDir: b.TempDir()})
	defer h.Close()
	n := 0
	for b.Loop() {
		n++
		p, err := h.Start(host.Command{ID: strconv.Itoa(n), Args: []string{"/bin/true"},
			Limits: host.Limits{CPUs: 1, Memory: 64 << 20, PIDs: 20}})
		if err != nil {
			b.Fatal(err)
		}
		if e := p.Wait(); !e.OK() {
			b.Fatal(e)
		}
	}
}

func BenchmarkStartParallel(b *testing.B) {
	h := host.NewReal(host.RealOptions{StateDir: b.TempDir()})
	defer h.Close()
	var n atomic.Int64
	defer cpuTime(b)()
	b.SetParallelism(4)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			p, err := h.Start(host.Command{ID: strconv.FormatInt(n.Add(1), 10), Args: []string{"/bin/true"}})
			if err != nil {
				b.Error(err)
				return
			}
			if e := p.Wait(); !e.OK() {
				b.Error(e)
			}
		}
	})
}

func BenchmarkBareParallel(b *testing.B) {
	defer cpuTime(b)()
	b.SetParallelism(4)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			p, err := os.StartProcess("/bin/true", []string{"/bin/true"}, &os.ProcAttr{Files: []*os.File{nil, nil, nil}})
			if err != nil {
				b.Error(err)
				return
			}
			p.Wait()
		}
	})
}

// cpuTime reports the processor time an operation takes, which a busy machine disturbs less.
func cpuTime(b *testing.B) func() {
	spent := func() int64 {
		var self, children syscall.Rusage
		syscall.Getrusage(syscall.RUSAGE_SELF, &self)
		syscall.Getrusage(syscall.RUSAGE_CHILDREN, &children)
		return self.Utime.Nano() + self.Stime.Nano() + children.Utime.Nano() + children.Stime.Nano()
	}
	before := spent()
	return func() { b.ReportMetric(float64(spent()-before)/float64(b.N), "cpu-ns/op") }
}
