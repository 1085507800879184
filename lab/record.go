package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"bramble/fault"
	hostnet "bramble/host/net"
)

const (
	recordFile = "lab.json"
	clientFile = "client"
)

// record is lab.json: what was asked for, and what became of it.
type record struct {
	ID    string       `json:"id"` // hostnet's
	Netns bool         `json:"netns"`
	Made  bool         `json:"made"` // the folder itself was made for the lab
	Link  hostnet.Rate `json:"link"`
	Seed  uint64       `json:"seed"`
	Exe   string       `json:"exe"`
	At    addresses    `json:"at"`    // where the head listens
	Nodes []Node       `json:"nodes"` // the head first
}

// Node is one machine of a lab.
type Node struct {
	Name      string `json:"name"`
	Address   string `json:"address"`
	Namespace string `json:"namespace,omitempty"` // as `ip netns` lists it
	Pid       int    `json:"pid,omitempty"`       // of the agent, as it was last started
	Faults
}

// Faults are what is wrong with a node because somebody wished it so.
type Faults struct {
	Killed bool         `json:"killed,omitempty"`
	Hung   bool         `json:"hung,omitempty"`
	Cut    bool         `json:"cut,omitempty"`
	Slow   hostnet.Rate `json:"slow,omitzero"`
}

// addresses of the head, host:port.
type addresses struct {
	Bus  string `json:"bus"`
	Peer string `json:"peer"`
	Web  string `json:"web"`
}

func (r *record) names() []string {
	names := make([]string, len(r.Nodes))
	for i, n := range r.Nodes {
		names[i] = n.Name
	}
	return names
}

func (r *record) node(name string) *Node {
	for i := range r.Nodes {
		if r.Nodes[i].Name == name {
			return &r.Nodes[i]
		}
	}
	return nil
}

func (l *Lab) read() (record, error) {
	var r record
	text, err := os.ReadFile(l.path(recordFile))
	if errors.Is(err, fs.ErrNotExist) {
		return r, fault.New(fault.NotFound, "there is no lab in %s", l.State).Hint("bramble lab up --state %s --nodes 4", l.State)
	}
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err != nil {
		return r, fmt.Errorf("reading the lab's record: %w", err)
	}
	return r, nil
}

// write replaces the record, whole at any moment.
func (l *Lab) write(r record) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	fresh := l.path("." + recordFile)
	if err := os.WriteFile(fresh, append(text, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(fresh, l.path(recordFile))
}

// change lets one process at a time read the record, act, and write what became of it, also when acting failed midway.
func (l *Lab) change(act func(*record) error) error {
	unlock, err := l.lock()
	if err != nil {
		return err
	}
	defer unlock()
	r, err := l.read()
	if err != nil {
		return err
	}
	return errors.Join(act(&r), l.write(r))
}

// lock holds the state folder.
func (l *Lab) lock() (unlock func(), err error) {
	dir, err := os.Open(l.State)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New(fault.NotFound, "there is no lab in %s", l.State)
	}
	if err != nil {
		return nil, err
	}
	for err = syscall.EINTR; errors.Is(err, syscall.EINTR); {
		err = syscall.Flock(int(dir.Fd()), syscall.LOCK_EX)
	}
	if err != nil {
		dir.Close()
		return nil, fmt.Errorf("locking %s: %w", l.State, err)
	}
	return func() { dir.Close() }, nil
}
