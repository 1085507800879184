// Package artefact keeps files by the hash of what is in them and brings them to
// nodes. A blob is immutable, its Ref its name; a Manifest is a tree of blobs.
//
// No byte becomes visible before its hash was verified: not in a Store, not at the
// place where a Manifest is laid out.
package artefact

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"os"
)

// Ref names a blob: the lower-case hex SHA-256 of its bytes.
type Ref string

// Blob is a Ref with the length of what it names.
type Blob struct {
	Ref  Ref
	Size int64 // bytes; -1 when not known
}

// Entry is one file, folder or symbolic link of a Manifest.
type Entry struct {
	Path string `json:"path"`           // slash-separated, relative, clean, never leaving the tree
	Mode uint32 `json:"mode"`           // permission bits and type, as io/fs.FileMode
	Size int64  `json:"size,omitempty"` // bytes, regular files only
	Ref  Ref    `json:"ref,omitempty"`  // regular files only
	Link string `json:"link,omitempty"` // symbolic links only
}

// Manifest is a tree of files in path order. A single file is a manifest of one entry.
type Manifest struct {
	Entries []Entry `json:"entries"`
}

// Limits of a manifest, which keep a hostile one from taking a node's memory.
const (
	MaxEntries  = 1_000_000
	MaxPath     = 4096      // bytes of a path or a link's target
	MaxName     = 255       // bytes between two slashes
	MaxDepth    = 200       // names in a path
	MaxManifest = 256 << 20 // bytes of the encoded form
)

// Opener gives the bytes of a blob: a Store, or the Tree that was scanned.
type Opener interface {
	// Open returns the blob and its size in bytes; the caller closes it. fault.NotFound when there is none.
	Open(Ref) (*os.File, int64, error)
}

// Progress is told bytes in place and bytes wanted; calls never overlap, and bytes that proved wrong are taken back.
type Progress func(done, total int64)

var (
	// ErrCorrupt is wrapped by the fault.NotFound of a blob whose bytes on disk no longer have its hash.
	ErrCorrupt = errors.New("damaged on disk and moved away")
	// ErrMismatch is wrapped when bytes that arrived do not have the hash they came under.
	ErrMismatch = errors.New("the bytes do not have this hash")
)

// Valid reports whether r has the form of a Ref.
func (r Ref) Valid() bool {
	if len(r) != 2*sha256.Size {
		return false
	}
	for _, c := range []byte(r) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// RefOf names data.
func RefOf(data []byte) Ref {
	sum := sha256.Sum256(data)
	return Ref(hex.EncodeToString(sum[:]))
}

func refOf(h hash.Hash) Ref { return Ref(hex.EncodeToString(h.Sum(nil))) }

// short is enough of r for a person to recognise it.
func (r Ref) short() string { return string(r[:min(12, len(r))]) }
