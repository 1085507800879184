package host

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"bramble/fault"
)

// SimOptions describes a simulated machine.
type SimOptions struct {
	Seed     uint64
	Model    string // a family name of simBoards, such as pi4; "" is pi3
	Hostname string // "" is made of the model and the seed
}

// Sim is a simulated machine: facts as a real board gives them, samples that move, and a few
// commands that run without a process. Ten thousand of them fit in one program. Two with the same options
// that are asked at the same moments after their making give the same answers.
type Sim struct {
	facts  Facts
	waves  waves
	booted time.Time

	mu      sync.Mutex
	running map[*simProcess]bool
	pid     int
}

var _ Host = (*Sim)(nil)

// simBoards are what the fixtures in testdata print, which a test compares.
var simBoards = map[string]Facts{
	"pi1": {Board: "Raspberry Pi Model B Rev 2", Revision: "000e", Arch: "armv6", Cores: 1, Memory: 443752 << 10,
		OS: "Raspbian GNU/Linux 12 (bookworm)", Kernel: "6.1.21+", Cgroup: 2},
	"pizero": {Board: "Raspberry Pi Zero W Rev 1.1", Revision: "9000c1", Arch: "armv6", Cores: 1, Memory: 443800 << 10,
		OS: "Raspbian GNU/Linux 12 (bookworm)", Kernel: "6.6.31+rpt-rpi-v6", Cgroup: 2},
	"pi2": {Board: "Raspberry Pi 2 Model B Rev 1.1", Revision: "a01041", Arch: "armv7", Cores: 4, Memory: 945364 << 10,
		OS: "Raspbian GNU/Linux 11 (bullseye)", Kernel: "5.15.84-v7+", Cgroup: 2},
	"pi3": {Board: "Raspberry Pi 3 Model B Rev 1.2", Revision: "a02082", Arch: "arm64", Cores: 4, Memory: 926308 << 10,
		OS: "Debian GNU/Linux 12 (bookworm)", Kernel: "6.6.51+rpt-rpi-v8", Cgroup: 2},
	"pi4": {Board: "Raspberry Pi 4 Model B Rev 1.4", Revision: "d03114", Arch: "arm64", Cores: 4, Memory: 7998632 << 10,
		OS: "Debian GNU/Linux 12 (bookworm)", Kernel: "6.6.51+rpt-rpi-v8", Cgroup: 2},
	"pi5": {Board: "Raspberry Pi 5 Model B Rev 1.0", Revision: "d04170", Arch: "arm64", Cores: 4, Memory: 8257280 << 10,
		OS: "Debian GNU/Linux 13 (trixie)", Kernel: "6.12.25+rpt-rpi-2712", Cgroup: 2},
	"odroid": {Board: "Hardkernel Odroid XU4", Arch: "armv7", Cores: 8, Memory: 2041224 << 10,
		OS: "Armbian 24.2.1 bookworm", Kernel: "6.6.16-current-odroidxu4", Cgroup: 2},
	"orangepi": {Board: "Xunlong Orange Pi PC", Arch: "armv7", Cores: 4, Memory: 1022056 << 10,
		OS: "Armbian 23.8.1 bullseye", Kernel: "6.1.47-current-sunxi", Cgroup: 2},
	"x86": {Board: "Intel(R) Client Systems NUC10i3FNH", Arch: "amd64", Cores: 4, Memory: 16200940 << 10,
		OS: "Debian GNU/Linux 12 (bookworm)", Kernel: "6.1.0-25-amd64", Cgroup: 2},
}

// NewSim makes a simulated machine; fault.NotFound names a model that it does not know.
func NewSim(opts SimOptions) (*Sim, error) {
	model := first(opts.Model, "pi3")
	f, ok := simBoards[model]
	if !ok {
		return nil, fault.New(fault.NotFound, "no board %q to simulate", model).Hint("pi1 pizero pi2 pi3 pi4 pi5 odroid orangepi x86")
	}
	r := rand.New(rand.NewPCG(opts.Seed, 0x62726d))
	f.Model = model
	f.Hostname = first(opts.Hostname, fmt.Sprintf("%s-%d", model, opts.Seed))
	f.Disk = 31 << 30
	f.Limits = []string{"cpu", "memory", "pids"}
	f.BootID = fmt.Sprintf("%08x-%04x-4%03x-8%03x-%012x", r.Uint32(), r.Uint32N(1<<16), r.Uint32N(1<<12), r.Uint32N(1<<12), r.Uint64N(1<<48))
	if f.Revision != "" {
		f.Serial = fmt.Sprintf("%016x", r.Uint32())
	}
	id := r.Uint32()
	f.Links = []Link{{Name: "eth0", MAC: fmt.Sprintf("b8:27:eb:%02x:%02x:%02x", byte(id), byte(id>>8), byte(id>>16)),
		Addrs: []string{fmt.Sprintf("10.%d.%d.%d", byte(opts.Seed>>16), byte(opts.Seed>>8), byte(opts.Seed))},
		Mbits: simMbits(model), Default: true}}
	return &Sim{facts: f, waves: newWaves(r), booted: time.Now().Add(-time.Duration(r.IntN(30*24*3600)) * time.Second),
		running: map[*simProcess]bool{}, pid: 1000}, nil
}

func simMbits(model string) int {
	switch model {
	case "pi4", "pi5", "odroid", "x86":
		return 1000
	}
	return 100
}

// Facts never changes and never fails.
func (s *Sim) Facts(context.Context) (Facts, error) { return s.facts, nil }

// Sample follows slow waves; the processes that run add to load and memory.
func (s *Sim) Sample(context.Context) (Sample, error) {
	s.mu.Lock()
	tasks := float64(len(s.running))
	s.mu.Unlock()
	now := time.Now()
	up := now.Sub(s.booted).Seconds()
	w, cores := s.waves, float64(s.facts.Cores)
	busy := min(1, 0.04*(1+w.at(0, up))+tasks/cores)
	total := s.facts.Memory
	rate := 20_000 + 15_000*w.at(3, 0) // bytes a second
	return Sample{
		At:       now,
		Load:     math.Round(100*(0.1*(1+w.at(1, up))+tasks)) / 100,
		CPU:      busy,
		MemUsed:  min(total, int64(float64(total)*(0.12+0.02*w.at(2, up)))+int64(tasks)<<20),
		MemTotal: total,
		Temp:     math.Round(10*(44+4*w.at(2, up/3)+22*busy)) / 10,
		RxBytes:  uint64(w.sum(3, up, rate)),
		TxBytes:  uint64(w.sum(4, up, rate/2)),
		DiskFree: s.facts.Disk/2 + int64(1e8*w.at(4, up/10)),
		Uptime:   int64(up),
	}, nil
}

// waves are sines of a minute or two, with phases by seed: movement that costs no state.
type waves [5]struct{ speed, phase float64 }

func newWaves(r *rand.Rand) (w waves) {
	for i := range w {
		w[i].speed = 2 * math.Pi / (60 + 60*r.Float64())
		w[i].phase = 2 * math.Pi * r.Float64()
	}
	return w
}

// at is a wave's height at a time in seconds, −1 to 1.
func (w waves) at(i int, seconds float64) float64 {
	return math.Sin(w[i].speed*seconds + w[i].phase)
}

// sum is a counter whose rate follows a wave between nothing and twice rate: it only grows.
func (w waves) sum(i int, seconds, rate float64) float64 {
	swing := math.Cos(w[i].phase) - math.Cos(w[i].speed*seconds+w[i].phase)
	return max(0, rate*(seconds+swing/w[i].speed))
}

// AtOnce is how a command ends that reads and writes nothing and takes no time; ok is false for any other.
func (s *Sim) AtOnce(args []string) (exit Exit, ok bool) {
	if len(args) == 0 || args[0] == "" {
		return exit, false
	}
	plan := planSim(args, s.facts)
	return plan.exit(), plan == simPlan{code: plan.code}
}

// Close kills what runs.
func (s *Sim) Close() error {
	s.mu.Lock()
	var all []*simProcess
	for p := range s.running {
		all = append(all, p)
	}
	s.mu.Unlock()
	for _, p := range all {
		p.Kill()
	}
	return nil
}

// Leftovers finds none: a simulated process dies with its machine.
func (s *Sim) Leftovers(prefix string) ([]string, error) { return nil, nil }

// Adopt fails, as there are no leftovers.
func (s *Sim) Adopt(id string) (Process, error) {
	return nil, fault.New(fault.NotFound, "no task %s was left running", id)
}
