package artefact

import (
	"strings"
	"time"

	"bramble/fault"
)

// Durable is a tree that nodes keep whole copies of, each of its blobs on as many as were asked for, until its name is removed.
type Durable struct {
	Name    string    `json:"name"`
	ID      string    `json:"id"` // of what is under the name now; what the nodes pin it under
	Owner   string    `json:"owner"`
	Private bool      `json:"private,omitempty"` // only its owner and admins may have it
	Ref     Ref       `json:"ref"`
	Files   int       `json:"files"`
	Bytes   int64     `json:"bytes"`
	Copies  int       `json:"copies"`
	On      string    `json:"on,omitempty"` // which nodes may keep it; "": any
	At      time.Time `json:"at"`
	Ring    []Holder  `json:"ring"`            // the nodes that keep it
	Stage   Stage     `json:"stage,omitempty"` // "": kept
}

// Stage is how far a Durable is.
type Stage string

const (
	Coming Stage = "coming" // its copies are being made: nobody was told yet that it is kept
	Kept   Stage = ""
	Going  Stage = "going" // it has been removed, and nodes that still have it are to let go of it
)

// Put asks that a tree be kept.
type Put struct {
	Name    string `json:"name"`
	Copies  int    `json:"copies"`
	On      string `json:"on,omitempty"`
	Private bool   `json:"private,omitempty"`
	Source  string `json:"-"` // a file or a folder here, as Scan takes it
}

// PutEvent is one thing that a Put reports.
type PutEvent struct {
	Event
	Kept *Durable `json:"kept,omitempty"` // the last: all copies are on disks
}

// MaxDurables is how many names one cluster has at most, MaxDurableName how long one is at most, in bytes.
const (
	MaxDurables    = 10_000
	MaxDurableName = 100
)

// checkDurable accepts [a-z0-9][a-z0-9._-]{0,99}.
func checkDurable(name string) error {
	bad := func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '.' || r == '-' || r == '_')
	}
	if name == "" || len(name) > MaxDurableName || strings.ContainsFunc(name, bad) || strings.ContainsRune("._-", rune(name[0])) {
		return fault.New(fault.Misused, "%.120q cannot be a name: it begins with a-z or 0-9 and goes on with these, dots, dashes and underscores, %d at most",
			name, MaxDurableName).Hint("a name such as photos-2026")
	}
	return nil
}

// check refuses what cannot be put.
func (p Put) check() error {
	if err := checkDurable(p.Name); err != nil {
		return err
	}
	if p.Copies < 1 || p.Copies > MaxCopies {
		return fault.New(fault.Misused, "%d copies cannot be: 1 to %d", p.Copies, MaxCopies).Hint("--copies 2")
	}
	return nil
}

// durablePrefix begins the names of pins that hold durable artefacts.
const durablePrefix = "store-"

func (d Durable) pin() string { return durablePrefix + d.ID }

// blobs are what is kept of a tree by as many nodes as were asked for; each of them has the list of files, of so many bytes, too.
func (d Durable) blobs(m Manifest, list int64) []Blob {
	if blobs := m.Blobs(); len(blobs) > 0 {
		return blobs
	}
	return []Blob{{d.Ref, list}}
}

// keepTask is what the head asks of a node: to keep its share of a durable artefact.
type keepTask struct {
	ID     string            `json:"id"`
	Ref    Ref               `json:"ref"`
	Copies int               `json:"copies"`
	Ring   []Holder          `json:"ring"`            // who shall keep it
	Have   []Holder          `json:"have,omitempty"`  // who has it; nobody: the head
	Peers  map[string]string `json:"peers,omitempty"` // where those are
	Exact  bool              `json:"exact,omitempty"` // let go of what is not in the share
	Proof  bool              `json:"proof,omitempty"` // read what is here already: somebody is told that it is kept
}

// dropTask is what it asks when a node shall keep nothing of it.
type dropTask struct {
	ID string `json:"id"`
}

// heldPin is what a node keeps under an ID.
type heldPin struct {
	ID      string `json:"id"`
	Blobs   int    `json:"blobs"`
	Missing []Ref  `json:"missing,omitempty"` // of them, the first that are not here
}

// maxMissing is how many missing blobs a node names under an ID: as many as fit one frame.
const maxMissing = 500
