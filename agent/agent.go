// Package agent is the answering half of bramble: the services that this machine's
// roles call for, wired together and run as one.
package agent

import (
	"context"
	"crypto/tls"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"bramble/artefact"
	"bramble/bus"
	"bramble/fan"
	"bramble/fault"
	"bramble/fleet"
	"bramble/host"
	"bramble/job"
	"bramble/keeper"
	"bramble/metric"
	"bramble/site"
	"bramble/trust"
)

// Machine is what an agent needs of a host: host.Real or host.Sim.
type Machine interface {
	host.Host
	fan.Accounts
}

// Options of an agent, on a head or on a node.
type Options struct {
	State   string // state folder
	Version string
	Machine Machine
	Log     *slog.Logger

	// Keeper starts or finds the process that holds tasks.
	Keeper func(ctx context.Context) (keeper.Keeper, error)
	// Metrics is the loopback address for /metrics of a node; "" for none.
	Metrics string
	// Web serves a head's dashboard until ctx ends; nil: none.
	Web func(ctx context.Context, d Dashboard) error
	// Front starts a process that carries the fronts of a folder, and opens ports at an address, "" is every link; nil: there are none here.
	Front func(dir, host string) (*os.Process, error)
	// Work is the folder for tasks; "": node/work in the state folder.
	Work string
	// PeerHost is where other nodes are answered; "": on every link, or on loopback when the head is there.
	PeerHost string
	// Dress completes what an allocation's command finds in its environment; nil: nothing more.
	Dress job.Dress
	// serves is told what serves sites on this machine, whose link courtesy is then about; both nil but on a head, which
	// gives files too.
	serves   func(*site.Node)
	courtesy *artefact.Courtesy
	// Ready is called once when the agent is in service; nil: nothing.
	Ready func(Info)
}

// Dashboard is what a head hands to its web pages.
type Dashboard struct {
	Listen  string      // host:port
	URL     string      // as people type it
	TLS     *tls.Config // for callers who are not on this machine
	Cluster string
	Version string
	Conn    *bus.Conn // the head's own, to answer on
	// Connect opens a connection that may do what the identity may.
	Connect func(trust.Identity) (*bus.Conn, error)
	// Nodes yields the members whenever something about them changed.
	Nodes   func(context.Context) iter.Seq[[]fleet.Node]
	SignIn  *trust.SignIn
	Store   *artefact.Store // files of jobs
	Metrics *metric.Set
	Log     *slog.Logger
}

// Info tells what came into service.
type Info struct {
	Name    string
	Cluster string
	Address string // where others reach the head
	Bus     string // host:port, as is Peer
	Peer    string
	Web     string // URL
	State   string
}

// Layout is where things are in a state folder.
type Layout string

func (l Layout) Head() string     { return filepath.Join(string(l), "head") }
func (l Layout) Node() string     { return filepath.Join(string(l), "node") }
func (l Layout) Client() string   { return filepath.Join(string(l), "client") }
func (l Layout) Socket() string   { return filepath.Join(l.Node(), "keeper.sock") }
func (l Layout) Spool() string    { return filepath.Join(l.Node(), "spool") }
func (l Layout) HeadFile() string { return filepath.Join(l.Head(), "head.json") }
func (l Layout) NodeFile() string { return filepath.Join(l.Node(), "node.json") }

// IsHead reports whether a cluster was made here.
func (l Layout) IsHead() bool { return isFile(l.HeadFile()) }

// IsNode reports whether this folder holds a membership.
func (l Layout) IsNode() bool { return isFile(l.NodeFile()) }

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// prepare makes the state folder. Tasks run as other accounts, so they may pass through it; what is private has 0700 itself.
func (l Layout) prepare() error {
	err := os.MkdirAll(string(l), 0o755)
	if err == nil {
		err = artefact.Settle(string(l))
	}
	if err == nil {
		err = os.MkdirAll(l.Node(), 0o755)
	}
	if err != nil {
		return fault.New(fault.Failed, "state folder %s: %w", l, err).Hint("--state DIR with a folder that you may write")
	}
	return nil
}

// renewEvery is how often certificates are looked at.
const renewEvery = 12 * time.Hour
