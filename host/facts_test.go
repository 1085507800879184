package host_test

import (
	"context"
	"math"
	"path/filepath"
	"reflect"
	"testing"

	"bramble/host"
)

// fixture opens a board of testdata as a binary built for goarch and goarm sees it.
func fixture(t *testing.T, board, goarch, goarm string, links ...host.Link) *host.Real {
	t.Helper()
	h := host.NewReal(host.RealOptions{
		Root: filepath.Join("testdata", board), StateDir: t.TempDir(), GOARCH: goarch, GOARM: goarm,
		Links: func() ([]host.Link, error) { return links, nil },
	})
	t.Cleanup(func() { h.Close() })
	return h
}

var (
	all      = []string{"cpu", "memory", "pids"}
	noMemory = []string{"cpu", "pids"}
)

var boards = []struct {
	board, goarch, goarm string
	want                 host.Facts // without Disk, Links
	mbits                int
	link                 string
}{
	{"pi1", "arm", "6", host.Facts{Hostname: "rack1-01", Model: "pi1", Board: "Raspberry Pi Model B Rev 2", Revision: "000e",
		Serial: "000000004a1b2c3d", Arch: "armv6", OS: "Raspbian GNU/Linux 12 (bookworm)", Kernel: "6.1.21+", Cores: 1,
		Memory: 443752 << 10, Cgroup: 2, Limits: noMemory, BootID: "5b1f0c52-5f7b-4a39-9d2a-0d6a5c1f4e01"}, 100, "eth0"},
	{"pizerow", "arm", "6", host.Facts{Hostname: "zero", Model: "pizero", Board: "Raspberry Pi Zero W Rev 1.1", Revision: "9000c1",
		Serial: "0000000017e30a91", Arch: "armv6", OS: "Raspbian GNU/Linux 12 (bookworm)", Kernel: "6.6.31+rpt-rpi-v6", Cores: 1,
		Memory: 443800 << 10, Cgroup: 2, Limits: noMemory, BootID: "0a4de1f1-62b4-4c5d-8f6e-55c7f4a8b902"}, 0, "wlan0"},
	{"pi2", "arm", "6", host.Facts{Hostname: "two", Model: "pi2", Board: "Raspberry Pi 2 Model B Rev 1.1", Revision: "a01041",
		Serial: "00000000b5f1a2c4", Arch: "armv7", OS: "Raspbian GNU/Linux 11 (bullseye)", Kernel: "5.15.84-v7+", Cores: 4,
		Memory: 945364 << 10, Cgroup: 2, Limits: noMemory, BootID: "7ce9a3dd-1f0b-4f43-b0f3-25b9a1c62703"}, 100, "eth0"},
	{"pi3b", "arm64", "", host.Facts{Hostname: "three", Model: "pi3", Board: "Raspberry Pi 3 Model B Rev 1.2", Revision: "a02082",
		Serial: "000000002e2fe545", Arch: "arm64", OS: "Debian GNU/Linux 12 (bookworm)", Kernel: "6.6.51+rpt-rpi-v8", Cores: 4,
		Memory: 926308 << 10, Cgroup: 2, Limits: all, BootID: "c2a1b6de-4c55-4f0a-8a0b-0a81bb4dd304"}, 100, "eth0"},
	// A 32-bit userland on the 64-bit kernel: what runs there is armv7.
	{"pi3b", "arm", "6", host.Facts{Hostname: "three", Model: "pi3", Board: "Raspberry Pi 3 Model B Rev 1.2", Revision: "a02082",
		Serial: "000000002e2fe545", Arch: "armv7", OS: "Debian GNU/Linux 12 (bookworm)", Kernel: "6.6.51+rpt-rpi-v8", Cores: 4,
		Memory: 926308 << 10, Cgroup: 2, Limits: all, BootID: "c2a1b6de-4c55-4f0a-8a0b-0a81bb4dd304"}, 100, "eth0"},
	{"pi3bplus", "arm", "7", host.Facts{Hostname: "threeplus", Model: "pi3", Board: "Raspberry Pi 3 Model B Plus Rev 1.3", Revision: "a020d3",
		Serial: "00000000d4e5f601", Arch: "armv7", OS: "Raspbian GNU/Linux 11 (bullseye)", Kernel: "6.1.21-v7+", Cores: 4,
		Memory: 944264 << 10, Cgroup: 2, Limits: noMemory, BootID: "1d2c3b4a-aaaa-4bbb-8ccc-0123456789ab"}, 1000, "eth0"},
	{"pi4", "arm64", "", host.Facts{Hostname: "four", Model: "pi4", Board: "Raspberry Pi 4 Model B Rev 1.4", Revision: "d03114",
		Serial: "10000000a1b2c3d4", Arch: "arm64", OS: "Debian GNU/Linux 12 (bookworm)", Kernel: "6.6.51+rpt-rpi-v8", Cores: 4,
		Memory: 7998632 << 10, Cgroup: 2, Limits: all, BootID: "9f86d081-884c-4d65-9a2f-eaa0c55ad015"}, 1000, "eth0"},
	// Its /proc/cpuinfo has no Revision, as with a kernel from elsewhere: the device tree has it.
	{"pi5", "arm64", "", host.Facts{Hostname: "five", Model: "pi5", Board: "Raspberry Pi 5 Model B Rev 1.0", Revision: "d04170",
		Serial: "48343bbbe3ae743b", Arch: "arm64", OS: "Debian GNU/Linux 13 (trixie)", Kernel: "6.12.25+rpt-rpi-2712", Cores: 4,
		Memory: 8257280 << 10, Cgroup: 2, Limits: all, BootID: "2c26b46b-68ff-4c68-8f99-453c1d304134"}, 1000, "eth0"},
	{"odroid", "arm", "7", host.Facts{Hostname: "odroid", Model: "odroid", Board: "Hardkernel Odroid XU4",
		Arch: "armv7", OS: "Armbian 24.2.1 bookworm", Kernel: "6.6.16-current-odroidxu4", Cores: 8,
		Memory: 2041224 << 10, Cgroup: 2, Limits: all, BootID: "fcde2b2e-dba5-46bf-88ff-21cb81a1a7b3"}, 1000, "eth0"},
	{"orangepi", "arm", "6", host.Facts{Hostname: "orange", Model: "orangepi", Board: "Xunlong Orange Pi PC", Serial: "02c00081f8d2a5f3",
		Arch: "armv7", OS: "Armbian 23.8.1 bullseye", Kernel: "6.1.47-current-sunxi", Cores: 4,
		Memory: 1022056 << 10, Cgroup: 1, Limits: all, BootID: "e3b0c442-98fc-4c14-9afb-f4c8996fb924"}, 100, "eth0"},
	{"x86", "amd64", "", host.Facts{Hostname: "nuc", Model: "x86", Board: "Intel(R) Client Systems NUC10i3FNH",
		Arch: "amd64", OS: "Debian GNU/Linux 12 (bookworm)", Kernel: "6.1.0-25-amd64", Cores: 4,
		Memory: 16200940 << 10, Cgroup: 2, Limits: all, BootID: "a591a6d4-0bf4-40a4-b205-c7e2f5d0f8e1"}, 1000, "eno1"},
}

func TestFactsOfEveryBoard(t *testing.T) {
	for _, b := range boards {
		t.Run(b.board+"-"+b.goarch+b.goarm, func(t *testing.T) {
			h := fixture(t, b.board, b.goarch, b.goarm, host.Link{Name: b.link, MAC: "b8:27:eb:00:00:01", Addrs: []string{"192.168.1.9"}})
			got, err := h.Facts(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			if got.Disk <= 0 {
				t.Errorf("disk of %d bytes", got.Disk)
			}
			want := b.want
			want.Disk = got.Disk
			want.Links = []host.Link{{Name: b.link, MAC: "b8:27:eb:00:00:01", Addrs: []string{"192.168.1.9"}, Mbits: b.mbits, Default: true}}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		})
	}
}

func TestSamplesOfEveryBoard(t *testing.T) {
	const MB = 1 << 10
	cases := map[string]host.Sample{
		"pi1": {Load: 0.31, CPU: 62330.0 / 682371, MemUsed: (443752 - 341208) * MB, MemTotal: 443752 * MB, Temp: 41.236,
			RxBytes: 53423411, TxBytes: 8123344, Uptime: 6820},
		"pizerow": {Load: 0.08, CPU: 15376.0 / 218610, MemUsed: (443800 - 287004) * MB, MemTotal: 443800 * MB, Temp: 38.47,
			RxBytes: 912311, TxBytes: 201133, Uptime: 2231},
		"pi2": {Load: 0.22, CPU: 123370.0 / 1739411, MemUsed: (945364 - 771208) * MB, MemTotal: 945364 * MB, Temp: 47.078,
			RxBytes: 3423411, TxBytes: 1123344, Uptime: 4420},
		"pi3b": {Load: 0.75, CPU: 0.09, MemUsed: (926308 - 651208) * MB, MemTotal: 926308 * MB, Temp: 53.692, Throttled: 0x50000,
			RxBytes: 93423411, TxBytes: 7123344, Uptime: 5001},
		"pi3bplus": {Load: 3.9, CPU: 290000.0 / 1800000, MemUsed: (944264 - 601208) * MB, MemTotal: 944264 * MB, Temp: 82.395, Throttled: 0xd000d,
			RxBytes: 193423411, TxBytes: 17123344, Uptime: 4500},
		// docker0 and its member are not counted again, a second real link is.
		"pi4": {Load: 0.11, CPU: 0.035, MemUsed: (7998632 - 7351208) * MB, MemTotal: 7998632 * MB, Temp: 45.277,
			RxBytes: 1193423411 + 7, TxBytes: 817123344 + 8, Uptime: 2510},
		// No get_throttled: the alarm of the voltage sensor.
		"pi5": {Load: 0.02, CPU: 0.025, MemUsed: (8257280 - 7951208) * MB, MemTotal: 8257280 * MB, Temp: 49.6, Throttled: 1,
			RxBytes: 99, TxBytes: 88, Uptime: 2511},
		"odroid": {Load: 1.2, CPU: 0.04, MemUsed: (2041224 - 1851208) * MB, MemTotal: 2041224 * MB, Temp: 63,
			RxBytes: 5000, TxBytes: 4000, Uptime: 2514},
		// No MemAvailable, as before Linux 3.14.
		"orangepi": {Load: 0.55, CPU: 0.1, MemUsed: (1022056 - 612312 - 23452 - 142620) * MB, MemTotal: 1022056 * MB, Temp: 44.5,
			RxBytes: 6000, TxBytes: 7000, Uptime: 2501},
		// No thermal zone: the hottest sensor.
		"x86": {Load: 0.4, CPU: 0.0155, MemUsed: (16200940 - 15351208) * MB, MemTotal: 16200940 * MB, Temp: 48,
			RxBytes: 123456, TxBytes: 654321, Uptime: 25100},
	}
	for board, want := range cases {
		t.Run(board, func(t *testing.T) {
			got, err := fixture(t, board, "arm64", "").Sample(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			if got.At.IsZero() || got.DiskFree <= 0 {
				t.Errorf("at %v, %d bytes free", got.At, got.DiskFree)
			}
			if math.Abs(got.CPU-want.CPU) > 1e-9 {
				t.Errorf("CPU is %v, want %v", got.CPU, want.CPU)
			}
			want.At, want.DiskFree, want.CPU = got.At, got.DiskFree, got.CPU
			if got != want {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		})
	}
}

func TestBusyShareIsOfTheTimeSinceThePreviousSample(t *testing.T) {
	h := fixture(t, "pi4", "arm64", "")
	h.Sample(context.Background())
	if s, _ := h.Sample(context.Background()); s.CPU != 0 {
		t.Errorf("nothing changed, and the processor was busy by %v", s.CPU)
	}
}

func TestNothingReadableIsNoError(t *testing.T) {
	h := host.NewReal(host.RealOptions{Root: t.TempDir(), StateDir: filepath.Join(t.TempDir(), "not", "made", "yet"), GOARCH: "arm", GOARM: "6",
		Links: func() ([]host.Link, error) { return nil, context.Canceled }})
	defer h.Close()
	f, err := h.Facts(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"/proc/cpuinfo", "/proc/sys/kernel/hostname", "/usr/lib/os-release", "/proc/sys/kernel/osrelease",
		"/proc/meminfo", "/proc/sys/kernel/random/boot_id", "network interfaces"}
	if !reflect.DeepEqual(f.Missing, want) {
		t.Errorf("missing %q, want %q", f.Missing, want)
	}
	if f.Model != "unknown" || f.Arch != "armv6" || f.Cores != 1 || f.Disk == 0 {
		t.Errorf("%+v", f)
	}
	if _, err := h.Sample(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestThisMachine(t *testing.T) {
	h := host.NewReal(host.RealOptions{StateDir: t.TempDir()})
	defer h.Close()
	f, err := h.Facts(context.Background())
	if err != nil || len(f.Missing) > 0 {
		t.Fatalf("missing %q, error %v", f.Missing, err)
	}
	if f.Hostname == "" || f.Kernel == "" || f.OS == "" || f.BootID == "" || f.Cores < 1 || f.Memory < 1<<20 || f.Disk < 1<<20 {
		t.Errorf("%+v", f)
	}
	s, err := h.Sample(context.Background())
	if err != nil || s.MemUsed <= 0 || s.MemUsed >= s.MemTotal || s.Uptime <= 0 || s.DiskFree <= 0 || s.CPU < 0 || s.CPU > 1 {
		t.Errorf("%+v, error %v", s, err)
	}
}
