package agent

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"bramble/artefact"
	"bramble/fault"
	"bramble/fleet"
	"bramble/trust"
)

// HeadConfig is what `up` settles once, kept in head/head.json.
type HeadConfig struct {
	Cluster string `json:"cluster"`
	Name    string `json:"name"`    // of the head's own node
	Address string `json:"address"` // where others reach it: IP address or host name
	Bus     string `json:"bus"`     // listen address, as are Peer and Web
	Peer    string `json:"peer"`
	Web     string `json:"web"`
	NoWork  bool   `json:"no_work,omitempty"` // takes no jobs
}

// NodeConfig is what `join` settles once, kept in node/node.json.
type NodeConfig struct {
	Cluster string   `json:"cluster"`
	Name    string   `json:"name"`
	Heads   []string `json:"heads"` // bus addresses
	Peer    string   `json:"peer"`  // the head's peer address
	Roles   []string `json:"roles"`
}

// ReadHead returns what was settled, with the fields of over that are set laid over it, and writes
// it back. The first time it chooses what is left open.
func ReadHead(l Layout, over HeadConfig) (HeadConfig, error) {
	var conf HeadConfig
	err := readJSON(l.HeadFile(), &conf)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return conf, err
	}
	conf.Name = cmp.Or(over.Name, conf.Name)
	if conf.Name == "" {
		hostname, _ := os.Hostname()
		conf.Name = trust.SuggestName(hostname)
	}
	if err := trust.ValidName(conf.Name); err != nil {
		return conf, err
	}
	conf.Cluster = cmp.Or(over.Cluster, conf.Cluster, "bramble")
	conf.Address = cmp.Or(over.Address, conf.Address, outwardAddress())
	conf.Bus = cmp.Or(over.Bus, conf.Bus, fmt.Sprintf("0.0.0.0:%d", fleet.BusPort))
	conf.Peer = cmp.Or(over.Peer, conf.Peer, fmt.Sprintf("0.0.0.0:%d", fleet.PeerPort))
	conf.Web = cmp.Or(over.Web, conf.Web, fmt.Sprintf("0.0.0.0:%d", fleet.WebPort))
	conf.NoWork = conf.NoWork || over.NoWork
	return conf, nil
}

// ports are the numbers that joiners are told.
func (c HeadConfig) ports() fleet.Ports {
	return fleet.Ports{Bus: portOf(c.Bus), Peer: portOf(c.Peer), Web: portOf(c.Web)}
}

func portOf(addr string) int {
	_, port, _ := net.SplitHostPort(addr)
	n, _ := strconv.Atoi(port)
	return n
}

func (c HeadConfig) roles() []string {
	if c.NoWork {
		return []string{fleet.RoleHead}
	}
	return []string{fleet.RoleHead, fleet.RoleWorker}
}

// Join asks a head for membership and settles it in the state folder. A repeated join with the same
// folder is the same machine and keeps its name. A refusal leaves nothing behind that was not there; an
// answer that was lost leaves the key, so that asking again is no new machine.
func Join(ctx context.Context, l Layout, addr string, tokenText, name string) (NodeConfig, error) {
	token, err := trust.ParseToken(tokenText)
	if err != nil {
		return NodeConfig{}, err
	}
	if name, err = l.joinName(token, name); err != nil {
		return NodeConfig{}, err
	}
	undo := l.undoJoin()
	conf, err := l.join(ctx, addr, token, name)
	if err != nil && !fault.Is(err, fault.Unreachable) && !fault.Is(err, fault.Interrupted) {
		undo()
	}
	return conf, err
}

// joinName is the name to ask for: that of the membership already here, or one made of the host name.
func (l Layout) joinName(token trust.Token, name string) (string, error) {
	if conf, err := ReadNode(l); err == nil {
		cred, err := trust.LoadCredential(l.cred())
		if err == nil && trust.PinOf(cred.CA()) != token.CA {
			return "", fault.New(fault.Conflict, "%s is a node of the cluster %s already, and the token is another cluster's", l, conf.Cluster).
				Hint("--state DIR to join that one too, or remove %s to forget this one", l.Node())
		}
		name = cmp.Or(name, conf.Name)
	}
	if name == "" {
		hostname, _ := os.Hostname()
		name = trust.SuggestName(hostname)
	}
	return name, trust.ValidName(name)
}

func (l Layout) join(ctx context.Context, addr string, token trust.Token, name string) (NodeConfig, error) {
	if err := l.prepare(); err != nil {
		return NodeConfig{}, err
	}
	if err := os.MkdirAll(l.cred(), 0o700); err != nil {
		return NodeConfig{}, err
	}
	key, err := trust.OpenKey(l.cred())
	if err != nil {
		return NodeConfig{}, err
	}
	conf, cred, told, err := Enrol(ctx, addr, token, name, key)
	if err != nil {
		return conf, err
	}
	if err := cred.Save(l.cred()); err != nil {
		return conf, err
	}
	if err := trust.OpenClock(l.clock()).Observe(told); err != nil {
		return conf, err
	}
	return conf, writeJSON(l.NodeFile(), conf)
}

// undoJoin notes what is here, and returns what removes the rest: the key, and folders that are then empty.
func (l Layout) undoJoin() func() {
	files, _ := filepath.Glob(l.cred() + "/*")
	ignore := filepath.Join(string(l), artefact.IgnoreFile)
	ignored := isFile(ignore)
	var missing []string
	for dir := l.cred(); ; dir = filepath.Dir(dir) {
		if _, err := os.Lstat(dir); err == nil {
			break
		}
		missing = append(missing, dir)
	}
	return func() {
		if len(files) == 0 {
			now, _ := filepath.Glob(l.cred() + "/*")
			for _, file := range now {
				os.Remove(file)
			}
		}
		if !ignored {
			os.Remove(ignore)
		}
		for _, dir := range missing {
			os.Remove(dir)
		}
	}
}

// Enrol asks the head at addr for membership of the machine with the key, and writes nothing. It returns also
// the head's time.
func Enrol(ctx context.Context, addr string, token trust.Token, name string, key *ecdsa.PrivateKey) (
	conf NodeConfig, cred *trust.Credential, told time.Time, err error) {
	csr, err := trust.NewRequest(key)
	if err != nil {
		return conf, nil, told, err
	}
	answer, err := fleet.Join(ctx, addr, token, fleet.JoinRequest{Name: name, CSR: csr}, time.Now)
	if err != nil {
		return conf, nil, told, err
	}
	if answer.ID.Kind != trust.KindNode {
		return conf, nil, told, fault.New(fault.Misused, "the token signs in %s and joins no node", answer.ID.Name).
			Hint("make one for nodes on the head: bramble token create")
	}
	ca, err := trust.ParseCertificates(answer.CA)
	if err != nil {
		return conf, nil, told, err
	}
	cert, err := trust.ParseCertificates(answer.Cert)
	if err != nil {
		return conf, nil, told, err
	}
	if trust.PinOf(ca[0]) != token.CA {
		return conf, nil, told, fault.New(fault.Denied, "the head at %s sent another cluster's CA", addr)
	}
	if cred, err = trust.NewCredential(key, cert[0], ca[0]); err != nil {
		return conf, nil, told, err
	}
	host, _, _ := net.SplitHostPort(fleet.WithPort(addr, fleet.PeerPort))
	conf = NodeConfig{Cluster: answer.Cluster, Name: answer.ID.Name, Roles: []string{fleet.RoleWorker},
		Heads: []string{net.JoinHostPort(host, strconv.Itoa(answer.Ports.Bus))},
		Peer:  net.JoinHostPort(host, strconv.Itoa(answer.Ports.Peer))}
	return conf, cred, answer.Time, nil
}

// ReadNode returns what Join settled; fault.NotFound when this machine has not joined.
func ReadNode(l Layout) (NodeConfig, error) {
	var conf NodeConfig
	err := readJSON(l.NodeFile(), &conf)
	if errors.Is(err, fs.ErrNotExist) {
		return conf, fault.New(fault.NotFound, "this machine has not joined a cluster (looked in %s)", l).
			Hint("bramble join HEAD --token TOKEN, or bramble up to make a cluster")
	}
	return conf, err
}

func (l Layout) cred() string     { return l.Node() + "/cred" }
func (l Layout) headCred() string { return l.Head() + "/cred" }
func (l Layout) clock() string    { return l.Node() + "/time" }

func readJSON(path string, v any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fault.New(fault.Failed, "%s is damaged: %w", path, err).Hint("restore it from a backup, or remove the folder and join again")
	}
	return nil
}

// writeJSON replaces a small file so that a crash leaves the old one or the new one.
func writeJSON(path string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(strings.TrimSuffix(path, "/"+lastPart(path)), ".new-")
	if err != nil {
		return err
	}
	_, err = f.Write(append(data, '\n'))
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

func lastPart(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }

// outwardAddress is the address this machine is reached at: that of the default route, else of any link.
func outwardAddress() string {
	if conn, err := net.Dial("udp4", "192.0.2.1:9"); err == nil { // no packet is sent: the kernel only chooses a route
		defer conn.Close()
		return conn.LocalAddr().(*net.UDPAddr).IP.String()
	}
	addrs, _ := net.InterfaceAddrs()
	for _, a := range addrs {
		if ip, ok := a.(*net.IPNet); ok && !ip.IP.IsLoopback() && ip.IP.To4() != nil {
			return ip.IP.String()
		}
	}
	return "127.0.0.1"
}
