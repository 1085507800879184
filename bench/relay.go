package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"bramble/fleet"
)

// relayVerb starts this program as one of a bare chain: it writes what arrives to a file and passes it on, unproved and in
// the clear. What that takes, the links of this machine take.
const (
	relayVerb   = "relay" // TABLE FILE
	sendVerb    = "send"  // ADDRESS FILE
	relayPort   = "8098"
	relayBuffer = 128 << 10 // bytes
)

// chain is whom each node passes the file on to, by name.
type chain map[string]string

// relay passes one file on and says when it is on the disk.
func relay(ctx context.Context, table, file string) error {
	var next chain
	data, err := os.ReadFile(table)
	if err == nil {
		err = json.Unmarshal(data, &next)
	}
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", ":"+relayPort)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { listener.Close() })()
	from, err := listener.Accept()
	if err != nil {
		return err
	}
	defer from.Close()
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	defer out.Close()
	if err := passOn(ctx, from, out, next[os.Getenv("BRAMBLE_NODE")]); err != nil {
		return err
	}
	if err := out.Sync(); err != nil {
		return err
	}
	_, err = fmt.Println("came")
	return err
}

// send begins a chain.
func send(ctx context.Context, address, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	return passOn(ctx, f, nil, address)
}

// passOn copies to the file, which may be nil, and to the next one, where there is one.
func passOn(ctx context.Context, from io.Reader, out io.Writer, next string) error {
	if next == "" {
		_, err := io.CopyBuffer(struct{ io.Writer }{out}, struct{ io.Reader }{from}, make([]byte, relayBuffer))
		return err
	}
	to, err := reach(ctx, net.JoinHostPort(next, relayPort))
	if err != nil {
		return err
	}
	defer to.Close()
	var both io.Writer = to
	if out != nil {
		both = io.MultiWriter(out, to)
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{both}, struct{ io.Reader }{from}, make([]byte, relayBuffer))
	return err
}

// reach dials until somebody listens there.
func reach(ctx context.Context, address string) (net.Conn, error) {
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err == nil {
			return conn, nil
		}
		if pause(ctx, 20*time.Millisecond) != nil {
			return nil, errors.Join(ctx.Err(), err)
		}
	}
}

// relays has each node pass the file on to the next, and nothing else done.
func (p *spreadPeers) relays(ctx context.Context, file string) (time.Duration, error) {
	nodes, err := p.r.cluster.Fleet.Select(ctx, fleet.Fold(p.r.names()))
	if err != nil {
		return 0, err
	}
	next := chain{}
	for i, n := range nodes[1:] {
		next[nodes[i].Name] = n.Address
	}
	data, err := json.Marshal(next)
	if err != nil {
		return 0, err
	}
	table := filepath.Join(p.dir, "chain")
	if err := os.WriteFile(table, data, 0o644); err != nil {
		return 0, err
	}
	self, err := p.self()
	if err != nil {
		return 0, err
	}
	defer p.serve(ctx, fmt.Sprintf("exec %s %s %s %s", self, sendVerb, nodes[0].Address, file))()
	return p.until(ctx, "came", fmt.Sprintf("exec %s %s %s /tmp/peer.bin", self, relayVerb, table))
}

// self is a copy of this program where nodes see it.
func (p *spreadPeers) self() (string, error) {
	exe, err := os.Executable()
	if err != nil {
		return "", err
	}
	path := filepath.Join(p.dir, "bench")
	return path, copyFile(exe, path)
}
