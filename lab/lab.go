// Package lab makes a cluster of many machines out of one: a head and nodes that are
// real processes, each in a network, host name and /tmp of its own where there is root,
// else side by side on loopback. Its faults are those that a rack of boards has.
//
// A lab outlives who made it. All that is known of it is in its state folder and in the
// kernel, so any process may open it and act on it.
package lab

import (
	"context"
	"os"
	"path/filepath"

	"bramble/cluster"
	"bramble/fault"
	hostnet "bramble/host/net"
)

// Head is the name of the head's node; the others are node1, node2, ….
const Head = "head"

// Options of a lab to make.
type Options struct {
	State   string       // folder that holds all of it; made when missing, and then removed with the lab
	Nodes   int          // besides the head
	Link    hostnet.Rate // of every node, the head included; 0 is unshaped
	NoNetns bool         // processes on loopback even where namespaces could be made
	Seed    uint64       // decides what is left to chance, such as ports; 0: anew each time
	Exe     string       // the bramble binary; "": this program
	// Joined is called for each node that is up, the head included; nil: nothing.
	Joined func(node string)
	// Say is the Lab's; nil: nothing.
	Say func(node, what string)
}

// Lab is one that is up, or was.
type Lab struct {
	State string // absolute
	// Say is told each fault and each healing; nil: nothing.
	Say func(node, what string)
}

// Open finds the lab in a state folder; fault.NotFound when there is none.
func Open(state string) (*Lab, error) {
	abs, err := filepath.Abs(state)
	if err != nil {
		return nil, err
	}
	l := &Lab{State: abs}
	if _, err := os.Stat(l.path(recordFile)); err != nil {
		return nil, fault.New(fault.NotFound, "there is no lab in %s", state).Hint("bramble lab up --state %s --nodes 4", state)
	}
	return l, nil
}

// Cluster connects to the lab's head as an admin.
func (l *Lab) Cluster(ctx context.Context) (*cluster.Cluster, error) {
	return cluster.Open(ctx, l.State)
}

// Nodes are the nodes as they were last written down, the head first.
func (l *Lab) Nodes() ([]Node, error) {
	r, err := l.read()
	return r.Nodes, err
}

// Log is the path of what a node's agent wrote.
func (l *Lab) Log(node string) string { return l.path(node, "log") }

func (l *Lab) path(elem ...string) string {
	return filepath.Join(append([]string{l.State}, elem...)...)
}

func (l *Lab) say(node, what string) {
	if l.Say != nil {
		l.Say(node, what)
	}
}
