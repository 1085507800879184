// Package cluster is the asking half of bramble: a connection to a head and one typed
// client per room over it. Command line, terminal and programs use nothing else.
package cluster

import (
	"cmp"
	"context"
	"os"
	"path/filepath"
	"time"

	"bramble/artefact"
	"bramble/bus"
	"bramble/event"
	"bramble/fan"
	"bramble/fault"
	"bramble/fleet"
	"bramble/front"
	"bramble/job"
	"bramble/site"
	"bramble/trust"
)

// Patience is how long a client waits for a head that does not answer.
const Patience = 5 * time.Second

// Cluster is an open connection to a head.
type Cluster struct {
	File *trust.ClientFile
	Cred *trust.Credential
	Conn *bus.Conn

	Fleet  fleet.Client
	Fan    fan.Client
	Jobs   job.Client
	Events event.Client
	Fronts front.Client
}

// Open connects to the cluster that where names: a state folder, a client file, or "" for
// this machine's own.
func Open(ctx context.Context, where string) (*Cluster, error) {
	path, err := find(where)
	if err != nil {
		return nil, err
	}
	file, err := trust.LoadClientFile(path)
	if err != nil {
		return nil, err
	}
	return Dial(ctx, file)
}

// Dial connects with a client file already read.
func Dial(ctx context.Context, file *trust.ClientFile) (*Cluster, error) {
	cred, err := file.Credential()
	if err != nil {
		return nil, err
	}
	conn, err := bus.Dial(ctx, bus.DialOptions{
		ID: cred.Identity(), Heads: file.Heads, Patience: Patience,
		TLS: trust.ClientConfig(cred, trust.NewVerifier(cred.CA(), time.Now).Verify, time.Now),
	})
	if err != nil {
		return nil, err
	}
	c := Over(conn)
	c.File, c.Cred = file, cred
	return c, nil
}

// Files moves blobs to and from the head.
func (c *Cluster) Files() *artefact.Client {
	verify := trust.NewVerifier(c.Cred.CA(), time.Now).Verify
	return &artefact.Client{Base: "https://" + c.File.Join, HTTP: artefact.HTTP(trust.ClientConfig(c.Cred, verify, time.Now))}
}

// Copies brings files to nodes and back.
func (c *Cluster) Copies() artefact.Copier { return artefact.Copier{Conn: c.Conn, Blobs: c.Files()} }

// Sites publishes web sites.
func (c *Cluster) Sites() site.Client { return site.Client{Conn: c.Conn, Blobs: c.Files()} }

// Durables asks for what nodes keep.
func (c *Cluster) Durables() artefact.Durables {
	return artefact.Durables{Conn: c.Conn, Blobs: c.Files()}
}

// Over makes the clients of a connection that is there already.
func Over(conn *bus.Conn) *Cluster {
	return &Cluster{Conn: conn, Fleet: fleet.Client{Conn: conn}, Fan: fan.Client{Conn: conn}, Jobs: job.Client{Conn: conn}, Events: event.Client{Conn: conn}, Fronts: front.Client{Conn: conn}}
}

// Close ends the connection.
func (c *Cluster) Close() { c.Conn.Close() }

// DefaultState is the state folder unless --state says another.
func DefaultState() string {
	if os.Geteuid() == 0 {
		return "/var/lib/bramble"
	}
	home, _ := os.UserHomeDir()
	return filepath.Join(cmp.Or(os.Getenv("XDG_STATE_HOME"), filepath.Join(home, ".local", "state")), "bramble")
}

// find turns what --cluster says into the path of a client file.
func find(where string) (string, error) {
	path := cmp.Or(where, DefaultState())
	info, err := os.Stat(path)
	if err == nil && info.IsDir() {
		path = filepath.Join(path, "client")
		_, err = os.Stat(path)
	}
	switch {
	case err == nil:
		return path, nil
	case os.IsPermission(err):
		return "", fault.New(fault.Denied, "%s may not be read by you", path).
			Hint("use sudo, or a client file of your own: sudo bramble client create NAME --role operator")
	case where == "":
		return "", fault.New(fault.NotFound, "no cluster on this machine (looked for %s)", path).
			Hint("bramble up to make one, or --cluster FILE with a client file from its head")
	}
	return "", fault.New(fault.NotFound, "no cluster at %s", where).Hint("--cluster DIR or FILE: a state folder, or a client file")
}
