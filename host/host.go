// Package host is the only room that knows Linux and the board: what this machine
// is, how it is doing, and how a process is started, limited and ended on it.
// Everything above sees one interface with a real and a simulated side.
package host

import (
	"context"
	"io"
	"os"
	"time"
)

// Host is one machine.
type Host interface {
	// Facts tells what the machine is; it changes only with hardware or a reboot.
	Facts(ctx context.Context) (Facts, error)
	// Sample tells how it is doing now.
	Sample(ctx context.Context) (Sample, error)
	// Start starts a process group. The error says why a command could not be started
	// (fault.NotFound for a missing program or folder, fault.Denied for a missing right).
	Start(cmd Command) (Process, error)
}

// Facts is what a machine is.
type Facts struct {
	Hostname string   `json:"hostname"`
	Model    string   `json:"model"`              // short family name for selectors: pi1 pizero pi2 pi3 pi4 pi5 odroid orangepi x86 …
	Board    string   `json:"board"`              // the maker's full text, such as "Raspberry Pi 3 Model B Plus Rev 1.3"
	Revision string   `json:"revision,omitempty"` // Raspberry Pi revision code, such as a020d3
	Serial   string   `json:"serial,omitempty"`
	Arch     string   `json:"arch"` // as Go and OCI name it, with the variant: amd64 arm64 armv7 armv6
	OS       string   `json:"os"`   // PRETTY_NAME of os-release
	Kernel   string   `json:"kernel"`
	Cores    int      `json:"cores"`
	Memory   int64    `json:"memory"` // bytes
	Disk     int64    `json:"disk"`   // bytes of the file system that holds the state folder
	Links    []Link   `json:"links"`
	Cgroup   int      `json:"cgroup"`           // 2, 1, or 0 when limits cannot be set
	Limits   []string `json:"limits,omitempty"` // which of cpu, memory and pids can be limited here
	BootID   string   `json:"boot_id"`
	Missing  []string `json:"missing,omitempty"` // what could not be read, for doctor
}

// Link is one network interface that is up.
type Link struct {
	Name    string   `json:"name"`
	MAC     string   `json:"mac"`
	Addrs   []string `json:"addrs"`           // without prefix length
	Mbits   int      `json:"mbits,omitempty"` // negotiated speed; 0 when unknown
	Default bool     `json:"default"`         // carries the default route
}

// Sample is how a machine is doing at one moment. Counters only grow; readers take differences.
type Sample struct {
	At        time.Time `json:"at"`
	Load      float64   `json:"load"`                // one-minute load average
	CPU       float64   `json:"cpu"`                 // busy share of all cores since the previous sample, 0–1
	MemUsed   int64     `json:"mem_used"`            // bytes: total less available
	MemTotal  int64     `json:"mem_total"`           // bytes
	Temp      float64   `json:"temp,omitempty"`      // °C of the hottest zone; 0 when there is no sensor
	Throttled uint32    `json:"throttled,omitempty"` // the firmware's get_throttled bits
	RxBytes   uint64    `json:"rx_bytes"`            // all links but loopback
	TxBytes   uint64    `json:"tx_bytes"`
	DiskFree  int64     `json:"disk_free"` // bytes free to us where the state folder is
	Uptime    int64     `json:"uptime"`    // seconds
}

// Command is a process group to start.
type Command struct {
	ID     string   // names its control group; unique among the running ones; [a-z0-9.-]
	Args   []string // Args[0] is looked up in PATH of Env
	Env    []string // the whole environment: nothing is inherited
	Dir    string   // working folder; the account need not be able to reach it by path
	User   string   // account to run as; "" is the caller's own. See Account.
	Umask  int      // 0 or less: inherit
	Stdin  *os.File // nil: /dev/null
	Stdout *os.File // nil: /dev/null
	Stderr *os.File // nil: /dev/null
	TTY    *Size    // a terminal of this size instead of the three files above
	Limits Limits
}

// Writing is a file that is to be opened for what somebody's command writes.
type Writing struct {
	Path   string // from the root; an ordinary file, or none yet
	Below  string // folder below which missing folders are made; "": none is made
	Append bool   // what it holds stays
	Umask  int    // rights that a new file does not get; 0 or less: inherit
}

// Limits of a process group; zero means no limit.
type Limits struct {
	CPUs   float64 `json:"cpus,omitempty"`   // cores
	Memory int64   `json:"memory,omitempty"` // bytes
	PIDs   int     `json:"pids,omitempty"`   // processes and threads
}

// Size of a terminal in cells.
type Size struct {
	Rows uint16 `json:"rows"`
	Cols uint16 `json:"cols"`
}

// Process is a started process group.
type Process interface {
	Pid() int
	// Terminal is the controlling side of the TTY that Command asked for, else nil.
	Terminal() io.ReadWriter
	// Resize changes the terminal's size.
	Resize(Size) error
	// Signal sends sig to the whole group.
	Signal(sig os.Signal) error
	// Kill ends every process of the tree, daemons that left the group included.
	Kill() error
	// EndsWithin reports whether the leader ends within so long; it may report false earlier.
	EndsWithin(d time.Duration) bool
	// Wait returns when the leader has ended and, after Kill, when the whole tree has. It may be called once.
	Wait() Exit
}

// Exit is how a process group ended.
type Exit struct {
	Code   int           `json:"code"`             // exit status; -1 when a signal ended it
	Signal string        `json:"signal,omitempty"` // such as "SIGKILL"
	OOM    bool          `json:"oom,omitempty"`    // ended for exceeding its memory limit
	Wall   time.Duration `json:"wall"`             // nanoseconds
	User   time.Duration `json:"user"`             // CPU time in user mode
	System time.Duration `json:"system"`           // CPU time in the kernel
	MaxRSS int64         `json:"max_rss"`          // bytes; 0 when unknown, as of a process smaller than the one that started it
}

// OK reports whether it ended with status 0.
func (e Exit) OK() bool { return e.Code == 0 && e.Signal == "" }
