// Package site publishes web sites: a release reaches every node, is verified there, and then all nodes swap at once.
// What is live is decided on the head, in one record on its disk; nodes are told what they should serve until they say
// that they do.
package site

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"bramble/artefact"
	"bramble/fault"
	"bramble/trust"
)

// Site is what the head keeps of one.
type Site struct {
	Spec
	Seq      int64        `json:"seq"`  // grows with every change
	Live     artefact.Ref `json:"live"` // "" before the first release
	Releases []Release    `json:"releases"`
	Removed  bool         `json:"removed,omitempty"`
}

// Spec is what people say of a site.
type Spec struct {
	Name   string   `json:"name"`
	On     string   `json:"on"`               // selection
	Quorum int      `json:"quorum"`           // percent of the nodes that are up which must be ready
	Listen string   `json:"listen,omitempty"` // [ADDRESS]:PORT; "": the usual port of the node
	Hosts  []string `json:"hosts,omitempty"`  // names it answers to; none: to all that no other site answers to
	// Folder is where nodes lay releases out in place of serving them, and Exec the command that they run after a swap.
	Folder string `json:"folder,omitempty"`
	Exec   string `json:"exec,omitempty"`
	User   string `json:"user"`         // who published last, whose account works in Folder
	As     string `json:"as,omitempty"` // "root", for admins
	// Log has nodes keep an access log.
	Log bool `json:"log,omitempty"`
}

// Release is one version of a site: a tree of the files (and of their compressed forms), named by the hash of its list.
type Release struct {
	ID        artefact.Ref `json:"id"`
	Sig       []byte       `json:"sig"` // of the cluster, over name and ID
	Published time.Time    `json:"published"`
	User      string       `json:"user"`
	Files     int          `json:"files"`
	Bytes     int64        `json:"bytes"` // without compressed forms
}

// Short is enough of a release's id for people, and for the release cookie.
func Short(id artefact.Ref) string { return string(id[:min(12, len(id))]) }

// Kept is how many releases of a site stay on the head and on its nodes.
const Kept = 5

// Limits of a site.
const (
	MaxFiles = 200_000
	MaxBytes = 8 << 30
	maxHosts = 32
	maxText  = 4096 // bytes of a command or path
	maxSites = 256
)

// Publish asks for a new release. What is empty stays as it was, or is the default of a new site.
type Publish struct {
	Spec
	// Serve is set when a site that was laid out in a folder shall be served by the nodes again.
	Serve bool `json:"serve,omitempty"`
	// NoLog ends the access log that Log has begun.
	NoLog bool `json:"no_log,omitempty"`
	// Courtesy has the files come as far as visitors of sites leave room.
	Courtesy bool `json:"courtesy,omitempty"`
}

// Rollback asks for an earlier release: the one before the live one, or the one whose id begins with To.
type Rollback struct {
	Name string `json:"name"`
	To   string `json:"to,omitempty"`
}

// Kind of an Event.
type Kind string

const (
	Chosen    Kind = "nodes"     // Names are nodes of the selection, Away those of them that are down; Live is the release before
	Uploading Kind = "upload"    // Done of Total bytes have left this machine
	LeftOut   Kind = "skipped"   // Path cannot be published; Error says why
	Noted     Kind = "note"      // Path is published, and Error says what may be wrong with it
	Moving    Kind = "progress"  // a node has Done of Total bytes
	Ready     Kind = "ready"     // a node could serve the release
	Failed    Kind = "failed"    // a node cannot
	Committed Kind = "committed" // it is decided that the release is live
	Live      Kind = "live"      // a node serves it; Error is what the command there complained of
	Finished  Kind = "finished"  // the last: what was done
)

// Event is one thing that a publication reports.
type Event struct {
	Kind    Kind         `json:"kind"`
	Node    string       `json:"node,omitempty"`
	Names   []string     `json:"names,omitempty"`
	Away    []string     `json:"away,omitempty"`
	Live    artefact.Ref `json:"live,omitempty"`
	Folder  string       `json:"folder,omitempty"` // Chosen: where nodes lay the release out
	Path    string       `json:"path,omitempty"`
	Done    int64        `json:"done,omitempty"`
	Total   int64        `json:"total,omitempty"`
	Moved   int64        `json:"moved,omitempty"` // bytes that had to come to the node, or to the head
	Code    fault.Code   `json:"code,omitempty"`
	Error   string       `json:"error,omitempty"`
	Try     string       `json:"try,omitempty"`
	Site    *Site        `json:"site,omitempty"`    // Finished only
	Behind  []string     `json:"behind,omitempty"`  // Finished: nodes that will follow
	Seconds float64      `json:"seconds,omitempty"` // Finished: since the request
}

// State of a site on a node.
type State string

const (
	Serving  State = "live"   // it serves the live release
	Behind   State = "behind" // it serves another, or nothing, and is bringing the live one
	Broken   State = "failed" // it cannot, and tries again
	Away     State = "away"   // the node is down; what it serves is not known
	NotThere State = "new"    // it has not said yet
)

// Standing is how a site stands on one node.
type Standing struct {
	Node    string       `json:"node"`
	State   State        `json:"state"`
	Release artefact.Ref `json:"release,omitempty"` // that it serves
	Ready   artefact.Ref `json:"ready,omitempty"`   // that it could serve at once: one that is being published
	Address string       `json:"address,omitempty"` // HOST:PORT
	Error   string       `json:"error,omitempty"`
}

// wanted is what the head wants of a node for one site.
type wanted struct {
	Spec Spec           `json:"spec"`
	Seq  int64          `json:"seq"`
	Live Release        `json:"live"`
	Keep []artefact.Ref `json:"keep"` // releases that stay on the node's disk
}

// wants is all that the head wants of a node.
type wants struct {
	Sites   []wanted                `json:"sites"`
	Staging map[string]artefact.Ref `json:"staging,omitempty"` // by site: what is being published, which stays ready
}

// stageOrder asks a node to make a release ready.
type stageOrder struct {
	Spec    Spec    `json:"spec"`
	Release Release `json:"release"`
	artefact.Way
	List int64 `json:"list,omitempty"` // bytes of the release's list of files; 0: not known
}

// list is the size of the release's list as the room of files has it.
func (o stageOrder) list() int64 {
	if o.List <= 0 {
		return -1
	}
	return o.List
}

// stageNews is what a node reports while it stages; the last has Ended.
type stageNews struct {
	Done  int64        `json:"done,omitempty"`
	Total int64        `json:"total,omitempty"`
	Moved int64        `json:"moved,omitempty"`
	Ended bool         `json:"ended,omitempty"`
	Fault *fault.Error `json:"fault,omitempty"`
}

// report is what a node says of its sites, whenever something about them changed.
type report struct {
	Hello bool               `json:"hello,omitempty"` // the node has just connected
	Sites map[string]hosting `json:"sites"`
}

type hosting struct {
	Seq     int64        `json:"seq"` // of the order that is carried out
	Release artefact.Ref `json:"release,omitempty"`
	Ready   artefact.Ref `json:"ready,omitempty"`   // that could be served at once, and is not
	Address string       `json:"address,omitempty"` // without a host: where the head sees this node
	Error   string       `json:"error,omitempty"`
}

// Check reports as fault.Misused what is wrong with a spec.
func (s Spec) Check() error {
	if err := CheckName(s.Name); err != nil {
		return err
	}
	switch {
	case s.Quorum < 1 || s.Quorum > 100:
		return fault.New(fault.Misused, "a quorum of %d%% is none", s.Quorum).Hint("--quorum 90%%")
	case len(s.Hosts) > maxHosts:
		return fault.New(fault.Misused, "a site has at most %d host names", maxHosts)
	case len(s.Exec) > maxText || len(s.Folder) > maxText || strings.ContainsRune(s.Exec+s.Folder, 0):
		return fault.New(fault.Misused, "the command or the folder is too long, or has a NUL in it")
	case s.Exec != "" && s.Folder == "":
		return fault.New(fault.Misused, "a command to run after each release needs a folder to lay releases out in").
			Hint("--folder /srv/www/%s, of which %s/current is what your web server serves", s.Name, s.Name)
	case s.Folder != "" && !strings.HasPrefix(s.Folder, "/"):
		return fault.New(fault.Misused, "--folder %s is not a path from the root", s.Folder).Hint("--folder /srv/www/%s", s.Name)
	case s.Folder != "" && (s.Listen != "" || len(s.Hosts) > 0 || s.Log):
		return fault.New(fault.Misused, "a site in a folder is served by another program, so it has no --listen, no --host and no --log").Hint("leave them out, or --folder")
	}
	for _, host := range s.Hosts {
		if !hostName(host) {
			return fault.New(fault.Misused, "--host %.80q is no host name", host).Hint("--host blog.example.org")
		}
	}
	return checkListen(s.Listen)
}

// CheckName reports as fault.Misused what cannot be a site's name.
func CheckName(name string) error {
	if name == "" || name[0] < 'a' || name[0] > 'z' || trust.ValidName(name) != nil {
		return fault.New(fault.Misused, "%.80q cannot be a site's name", name).
			Hint("a lower-case letter, then letters, digits and dashes, such as blog")
	}
	return nil
}

// checkListen accepts "" and ADDRESS:PORT, where the address may be missing.
func checkListen(listen string) error {
	if listen == "" {
		return nil
	}
	text := listen
	if strings.HasPrefix(text, ":") {
		text = "0.0.0.0" + text
	}
	if at, err := netip.ParseAddrPort(text); err != nil || at.Port() == 0 {
		return fault.New(fault.Misused, "--listen %.80q is no port or address", listen).Hint("--listen :8080, or --listen 192.168.1.5:80")
	}
	return nil
}

// hostName accepts lower-case DNS names.
func hostName(host string) bool {
	if host == "" || len(host) > 253 {
		return false
	}
	for label := range strings.SplitSeq(host, ".") {
		bad := func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' }
		if label == "" || len(label) > 63 || strings.ContainsFunc(label, bad) || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
	}
	return true
}

// release is the one with this id.
func (s Site) release(id artefact.Ref) (Release, bool) {
	i := slices.IndexFunc(s.Releases, func(r Release) bool { return r.ID == id })
	if i < 0 {
		return Release{}, false
	}
	return s.Releases[i], true
}

// signed is what the cluster signs of a release.
func signed(name string, id artefact.Ref) []byte { return []byte(name + "\x00" + string(id)) }

// purpose of signatures.
const purpose = "release of a site"
