package fleet

import (
	"encoding/json"
	"time"

	"bramble/fault"
	"bramble/host"
	"bramble/trust"
)

// What goes over the bus and the join port. Fields are only ever added.

// Hello is what a node says of itself at each connection.
type Hello struct {
	Protocol int        `json:"protocol"` // bus.Protocol of the node
	Version  string     `json:"version"`
	Roles    []string   `json:"roles"`
	Facts    host.Facts `json:"facts"`
	Peer     string     `json:"peer,omitempty"` // where it answers other nodes, [HOST]:PORT; without HOST, at the address that the head sees
}

// maxHello is the most bytes of a Hello: a node cannot make everybody's list of nodes too long to send.
const maxHello = 6 << 10

// check refuses a Hello that no agent of ours sends.
func (h Hello) check() error {
	data, err := json.Marshal(h)
	if err == nil && len(data) > maxHello {
		err = fault.New(fault.Full, "the node says %d bytes of itself; at most %d are taken", len(data), maxHello)
	}
	if err == nil && h.Version == "" {
		err = fault.New(fault.Misused, "the node does not say its version")
	}
	return err
}

// Welcome answers a Hello.
type Welcome struct {
	Time    time.Time     `json:"time"`           // the head's, which the cluster runs by
	Version string        `json:"version"`        // the head's
	Denied  []string      `json:"denied"`         // serial numbers of revoked certificates
	Pace    time.Duration `json:"pace,omitempty"` // how often it wants to hear how the node is doing; 0: BeatEvery
}

// drainRequest keeps nodes from getting new work, or lets them again.
type drainRequest struct {
	Names []string `json:"names"`
	Why   string   `json:"why,omitempty"`
	Undo  bool     `json:"undo,omitempty"`
}

// JoinRequest is posted to /join with a token, and to /renew with a certificate.
type JoinRequest struct {
	Token string `json:"token,omitempty"`
	Name  string `json:"name,omitempty"` // wanted; "" leaves the choice to a client token
	CSR   []byte `json:"csr"`            // PKCS #10, PEM
}

// JoinAnswer is what a new member needs.
type JoinAnswer struct {
	Cluster string         `json:"cluster"`
	ID      trust.Identity `json:"id"`
	Cert    []byte         `json:"cert"`  // PEM
	CA      []byte         `json:"ca"`    // PEM
	Ports   Ports          `json:"ports"` // on the host that answered
	Time    time.Time      `json:"time"`
}

// Ports of a head.
type Ports struct {
	Bus  int `json:"bus"`
	Peer int `json:"peer"` // joining and peers, HTTPS
	Web  int `json:"web"`  // dashboard
}

// Default ports.
const (
	BusPort  = 7650
	PeerPort = 7651
	WebPort  = 7652
)

// update is a message of a fleet.read.nodes stream.
type update struct {
	Nodes []Node   `json:"nodes,omitempty"`
	Gone  []string `json:"gone,omitempty"`
	Whole bool     `json:"whole,omitempty"` // all nodes that there are have been sent
	More  bool     `json:"more,omitempty"`  // the same change goes on in the next message
}

type nodesRequest struct {
	Watch bool `json:"watch,omitempty"`
}

type labelRequest struct {
	Names   []string      `json:"names"`
	Changes []LabelChange `json:"changes"`
}

type renameRequest struct {
	Old string `json:"old,omitempty"`
	New string `json:"new"`
}

type removeRequest struct {
	Name string `json:"name"`
}

type tokenRequest struct {
	Spec trust.TokenSpec `json:"spec"`
}

type tokenAnswer struct {
	Token string          `json:"token"`
	Info  trust.TokenInfo `json:"info"`
}

type issueRequest struct {
	User string     `json:"user"`
	Role trust.Role `json:"role"`
	CSR  []byte     `json:"csr"`
}

type issueAnswer struct {
	Cluster string `json:"cluster"`
	Cert    []byte `json:"cert"` // PEM
}

// none stands for a request or an answer that says nothing.
type none struct{}
