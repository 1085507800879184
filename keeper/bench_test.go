package keeper_test

import (
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"bramble/host"
	"bramble/keeper"
)

// BenchmarkTrue compares `true` through Start and Ended with fork, exec and wait alone, and through the
// host alone, two at a time, in alternating rounds. ahead is how many more the agent has under way, for the
// time that an end takes to the disk.
func BenchmarkTrue(b *testing.B) {
	for _, ahead := range []int{0, 2} {
		b.Run(fmt.Sprintf("local/ahead=%d", ahead), func(b *testing.B) {
			k, _ := local(b, b.TempDir(), io.Discard)
			compare(b, k, 2+ahead)
		})
		b.Run(fmt.Sprintf("process/ahead=%d", ahead), func(b *testing.B) {
			compare(b, ensure(b, launch(b, b.TempDir())), 2+ahead)
		})
	}
}

func compare(b *testing.B, k keeper.Keeper, slots int) {
	const round = 400
	h := newHost(b.TempDir())
	defer h.Close()
	ways := []struct {
		name string
		run  func()
		took time.Duration
		cpu  time.Duration
	}{
		{name: "bare", run: func() { pairs(round, func(int) { bare(b) }) }},
		{name: "host", run: func() { pairs(round, func(i int) { hosted(b, h, i) }) }},
		{name: "kept", run: func() { burst(b, k, round, slots) }},
	}
	for b.Loop() {
		for i := range ways {
			w := &ways[i]
			start, cpu := time.Now(), cpuTime()
			w.run()
			w.took += time.Since(start)
			w.cpu += cpuTime() - cpu
		}
	}
	n := float64(b.N * round)
	for _, w := range ways {
		b.ReportMetric(n/w.took.Seconds(), w.name+"/s")
		b.ReportMetric(float64(w.cpu.Microseconds())/n, w.name+"-cpu-us")
	}
	b.ReportMetric(ways[0].took.Seconds()/ways[2].took.Seconds(), "ratio")
	b.ReportMetric(0, "ns/op")
}

// cpuTime is what this process and its ended children have used.
func cpuTime() time.Duration {
	var sum int64
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		syscall.Getrusage(who, &u)
		sum += u.Utime.Nano() + u.Stime.Nano()
	}
	return time.Duration(sum)
}

// pairs runs f n times, two at a time.
func pairs(n int, f func(int)) {
	var loops sync.WaitGroup
	for half := range 2 {
		loops.Go(func() {
			for i := range n / 2 {
				f(2*i + half)
			}
		})
	}
	loops.Wait()
}

func bare(b *testing.B) {
	p, err := os.StartProcess("/bin/true", []string{"/bin/true"}, &os.ProcAttr{Env: []string{}})
	must(b, err)
	p.Wait()
}

func hosted(b *testing.B, h host.Host, i int) {
	p, err := h.Start(host.Command{ID: fmt.Sprint(i), Args: []string{"/bin/true"}, Umask: -1})
	must(b, err)
	p.Wait()
}
