// Package artefact keeps files by the hash of what is in them and brings them to
// nodes. A blob is immutable, its Ref its name; a Manifest is a tree of blobs.
package artefact

// Ref names a blob: the lower-case hex SHA-256 of its bytes.
type Ref string

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
