package artefact

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"math"
	"path"
	"strings"
	"unicode/utf8"

	"bramble/fault"
	"bramble/sorts"
	"bramble/term"
)

// kinds and special are the only bits beyond 0777 that an entry's mode may have.
const (
	kinds   = fs.ModeDir | fs.ModeSymlink
	special = fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky
)

// FileMode is the entry's mode as io/fs has it.
func (e Entry) FileMode() fs.FileMode { return fs.FileMode(e.Mode) }

func (e Entry) isFile() bool { return e.FileMode().Type() == 0 }
func (e Entry) isDir() bool  { return e.FileMode().Type() == fs.ModeDir }
func (e Entry) isLink() bool { return e.FileMode().Type() == fs.ModeSymlink }

// Blobs are the blobs that m's files consist of, each once, in the order of their first use.
func (m Manifest) Blobs() []Blob {
	seen := make(map[Ref]bool, len(m.Entries))
	var blobs []Blob
	for _, e := range m.Entries {
		if e.isFile() && !seen[e.Ref] {
			seen[e.Ref] = true
			blobs = append(blobs, Blob{e.Ref, e.Size})
		}
	}
	return blobs
}

// Validate reports, as fault.Misused, the first thing in m that no honest Scan makes.
// A manifest from outside that passes cannot name a place outside the tree it is laid out in.
func Validate(m Manifest) error {
	if len(m.Entries) > MaxEntries {
		return fault.New(fault.Misused, "%d files are more than the %d that one tree may have", len(m.Entries), MaxEntries)
	}
	folders := map[string]bool{".": true}
	sizes := make(map[Ref]int64, len(m.Entries))
	var total int64
	for i, e := range m.Entries {
		if err := checkEntry(e); err != nil {
			return err
		}
		if i > 0 && m.Entries[i-1].Path >= e.Path {
			return bad(e, "comes twice or out of order")
		}
		if !folders[path.Dir(e.Path)] {
			return bad(e, "is in a folder that is not part of the tree")
		}
		switch {
		case e.isDir():
			folders[e.Path] = true
		case e.isFile():
			if size, ok := sizes[e.Ref]; ok && size != e.Size {
				return bad(e, "has another size than a file with the same content")
			}
			sizes[e.Ref] = e.Size
			if e.Size > math.MaxInt64-total {
				return bad(e, "makes the tree too large")
			}
			total += e.Size
		}
	}
	return nil
}

// checkEntry reports what is wrong with e by itself.
func checkEntry(e Entry) error {
	switch mode := e.FileMode(); {
	case checkPath(e.Path) != nil:
		return checkPath(e.Path)
	case mode&^(fs.ModePerm|kinds|special) != 0 || mode&kinds == kinds:
		return bad(e, "is neither file, folder nor link")
	case !e.isFile() && (e.Ref != "" || e.Size != 0):
		return bad(e, "has content, but is no file")
	case e.isFile() && (!e.Ref.Valid() || e.Size < 0):
		return bad(e, "has no content")
	case !e.isLink() && e.Link != "":
		return bad(e, "has a link's target, but is no link")
	case e.isLink() && (e.Link == "" || len(e.Link) > MaxPath || !cleanText(e.Link)):
		return bad(e, "is a link that leads nowhere")
	}
	return nil
}

// checkPath accepts relative, clean, slash-separated UTF-8 without NUL, within the limits.
func checkPath(name string) error {
	problem := ""
	switch {
	case len(name) > MaxPath:
		problem = fmt.Sprintf("is longer than %d bytes", MaxPath)
	case !cleanText(name):
		problem = "is not UTF-8 or has a NUL in it"
	case name == "." || !fs.ValidPath(name):
		problem = "is not a clean path inside the tree"
	case strings.Count(name, "/") >= MaxDepth:
		problem = fmt.Sprintf("is more than %d folders deep", MaxDepth)
	default:
		for part := range strings.SplitSeq(name, "/") {
			if len(part) > MaxName {
				problem = fmt.Sprintf("has a name longer than %d bytes", MaxName)
			}
		}
	}
	if problem == "" {
		return nil
	}
	return fault.New(fault.Misused, "the path %.200q %s", name, problem)
}

func cleanText(s string) bool { return utf8.ValidString(s) && !strings.Contains(s, "\x00") }

func bad(e Entry, problem string) error {
	return fault.New(fault.Misused, "%.200q in the list of files %s", e.Path, problem)
}

// Encode is m's one encoded form: JSON without spaces, entries in path order. The same tree always has the same Ref.
func (m Manifest) Encode() ([]byte, error) {
	m.Entries = append([]Entry{}, m.Entries...)
	sortEntries(m.Entries)
	if err := Validate(m); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(m); err != nil {
		return nil, fmt.Errorf("encode a list of files: %w", err)
	}
	if out.Len() > MaxManifest {
		return nil, tooLong(out.Len())
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

func sortEntries(list []Entry) {
	sorts.By(list, func(a, b Entry) int { return strings.Compare(a.Path, b.Path) })
}

// tooLong is the fault of a list of files of so many bytes.
func tooLong(n int) error {
	return fault.New(fault.Misused, "the list of files has at most %s, and this one %s more", term.Bytes(MaxManifest), term.Bytes(int64(n)-MaxManifest))
}

// DecodeManifest reads what Encode made and validates it.
func DecodeManifest(data []byte) (Manifest, error) {
	var m Manifest
	if len(data) > MaxManifest {
		return m, tooLong(len(data))
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return Manifest{}, fault.New(fault.Misused, "this is not a list of files: %w", err)
	}
	if err := Validate(m); err != nil {
		return Manifest{}, err
	}
	return m, nil
}

// PutManifest stores the encoded form of m, which becomes the tree's name.
func (s *Store) PutManifest(ctx context.Context, m Manifest) (Ref, error) {
	data, err := m.Encode()
	if err != nil {
		return "", err
	}
	ref, _, err := s.Put(ctx, bytes.NewReader(data), RefOf(data))
	return ref, err
}

// GetManifest reads and validates the manifest that ref names.
func (s *Store) GetManifest(ctx context.Context, ref Ref) (Manifest, error) {
	f, size, err := s.Open(ref)
	if err != nil {
		return Manifest{}, err
	}
	defer f.Close()
	if size > MaxManifest {
		return Manifest{}, fault.New(fault.Misused, "blob %s is too long for a list of files", ref.short())
	}
	var data bytes.Buffer
	data.Grow(int(size))
	if _, err := s.Copy(ctx, &data, ref); err != nil {
		return Manifest{}, err
	}
	m, err := DecodeManifest(data.Bytes())
	return m, blame(err, "blob %s", ref.short())
}
