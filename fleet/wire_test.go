package fleet

import (
	"testing"
	"time"

	"bramble/bus/bustest"
	"bramble/host"
	"bramble/trust"
)

func TestWire(t *testing.T) {
	at := time.Date(2026, 11, 24, 6, 0, 0, 0, time.UTC)
	facts := host.Facts{Hostname: "pi", Model: "pi4", Board: "Raspberry Pi 4 Model B Rev 1.4", Revision: "c03114", Serial: "10000000", Arch: "arm64",
		OS: "Debian GNU/Linux 12 (bookworm)", Kernel: "6.12.25", Cores: 4, Memory: 4 << 30, Disk: 32 << 30, Cgroup: 2, Limits: []string{"cpu"}, BootID: "b",
		Links: []host.Link{{Name: "eth0", MAC: "dc:a6:32:00:00:01", Addrs: []string{"10.0.0.2"}, Mbits: 1000, Default: true}}, Missing: []string{"serial"}}
	bustest.Golden(t, "1", map[string]any{
		"hello":   Hello{Protocol: 1, Version: "1.0", Roles: []string{RoleWorker}, Facts: facts},
		"welcome": Welcome{Time: at, Version: "1.0", Denied: []string{"0f"}},
		"beat": host.Sample{At: at, Load: 0.5, CPU: 0.25, MemUsed: 1 << 30, MemTotal: 4 << 30, Temp: 48.5, Throttled: 0x50000,
			RxBytes: 1, TxBytes: 2, DiskFree: 3, Uptime: 4},
		"join-request": JoinRequest{Token: "bt1-x", Name: "pi", CSR: []byte("csr")},
		"join-answer": JoinAnswer{Cluster: "bramble", ID: trust.Identity{Kind: trust.KindNode, Name: "pi", Serial: "0f"}, Cert: []byte("cert"), CA: []byte("ca"),
			Ports: Ports{Bus: BusPort, Peer: PeerPort, Web: WebPort}, Time: at},
		"update": update{Nodes: []Node{{Name: "pi", State: Up, Roles: []string{RoleWorker}, Labels: map[string]string{"camera": ""}, Joined: at, Seen: at, Facts: facts}},
			Gone: []string{"old"}, Whole: true, More: true},
	})
}
