package artefact

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"bramble/fault"
)

// A porter is a process of its own that reads and writes files with the rights of the account that work is
// done for. The agent, which may be root, touches none of those files by path: it gives the porter blobs and
// gets files from it as open descriptors. So the kernel decides what the account may do, with its groups,
// quotas and capabilities, and a mistake here fails closed. Threads that borrow an account (setfsuid) would
// be cheaper, but work that slips to another thread of the process, as Go's does, would be root's again.
// The agent trusts a porter with nothing: it is given blobs of its own tree only.

// order is what a porter is told first.
type order struct {
	Account string   `json:"account"`
	Home    string   `json:"home"`
	Lay     *layWork `json:"lay,omitempty"`
	Read    []string `json:"read,omitempty"`
}

// layWork is a tree and where it goes.
type layWork struct {
	Ref  Ref    `json:"ref"`
	To   string `json:"to"`
	Many bool   `json:"many"`
}

// saying is any later message: a blob that is wanted, the answer to that, or the result.
type saying struct {
	Want   Ref          `json:"want,omitempty"`
	Size   int64        `json:"size,omitempty"` // of the file that comes along
	Fault  *fault.Error `json:"fault,omitempty"`
	Result *result      `json:"result,omitempty"`
}

// result is what became of an order.
type result struct {
	Tree    *Manifest `json:"tree,omitempty"` // what was read
	Skipped []Skipped `json:"skipped,omitempty"`
	Damaged Ref       `json:"damaged,omitempty"` // the blob that was not what it should be
}

// RunPorter does the one order that comes over the socket, with the rights of this process, until ctx ends.
func RunPorter(ctx context.Context, file *os.File) error {
	s, err := openSocket(file)
	if err != nil {
		return fault.New(fault.Misused, "a porter is started by the agent only: %w", err)
	}
	defer s.Close()
	defer context.AfterFunc(ctx, func() { s.Close() })()
	var o order
	if _, err := s.recv(&o); err != nil {
		return err
	}
	if o.Lay != nil {
		return layOut(ctx, s, o)
	}
	return readOut(ctx, s, o)
}

// layOut places a tree whose blobs the agent has.
func layOut(ctx context.Context, s *socket, o order) error {
	from := &agentBlobs{s: s}
	err := layTree(ctx, from, o)
	if fault.Is(err, fault.Denied) {
		err = fault.Of(err).Hint("the account %s may not write there: another --to, or --as root (admins)", o.Account)
	}
	return s.send(saying{Result: &result{Damaged: from.damaged}, Fault: fault.Of(err)}, nil)
}

func layTree(ctx context.Context, from *agentBlobs, o order) error {
	to, err := resolve(o.Home, o.Lay.To)
	if err != nil {
		return err
	}
	found, err := lookAt(to)
	if err != nil {
		return blame(err, "look at the destination")
	}
	landing, err := Land(sourcesOf(o.Lay.Many), to, found)
	if err != nil {
		return err
	}
	m, err := from.manifest(ctx, o.Lay.Ref)
	if err != nil {
		return err
	}
	return Place(ctx, from, m, landing.Dir, PlaceOptions{As: landing.Name, Overwrite: true})
}

// lookAt tells what stands at a path, as Land wants to know it.
func lookAt(path string) (Found, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Nothing, nil
	case err != nil:
		return Nothing, err
	case info.IsDir():
		return Folder, nil
	}
	return File, nil
}

// agentBlobs are the blobs of one tree, which the agent opens one after the other.
type agentBlobs struct {
	mu      sync.Mutex
	s       *socket
	damaged Ref // the first that was not what it should be
}

// Has says that nothing is missing: the agent has fetched everything before.
func (a *agentBlobs) Has([]Ref) []Ref { return nil }

func (a *agentBlobs) Copy(ctx context.Context, w io.Writer, ref Ref) (int64, error) {
	f, size, err := a.open(ref)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	check := newDigest(w)
	n, err := copyBytes(ctx, check, f, size)
	if err == nil && check.ref() != ref || err != nil && check.err == nil && ctx.Err() == nil {
		a.spoil(ref)
		return n, fault.New(fault.Failed, "blob %s: %w", ref.short(), ErrCorrupt).Hint("the same again: it is fetched anew")
	}
	return n, bare(err)
}

func (a *agentBlobs) spoil(ref Ref) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.damaged = ref
}

func (a *agentBlobs) open(ref Ref) (*os.File, int64, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.s.want(ref)
}

func (a *agentBlobs) manifest(ctx context.Context, ref Ref) (Manifest, error) {
	var data bytes.Buffer
	if _, err := a.Copy(ctx, &data, ref); err != nil {
		return Manifest{}, err
	}
	return DecodeManifest(data.Bytes())
}

// want asks the other side to open a blob.
func (s *socket) want(ref Ref) (*os.File, int64, error) {
	if err := s.send(saying{Want: ref}, nil); err != nil {
		return nil, 0, err
	}
	var a saying
	f, err := s.recv(&a)
	if err != nil {
		return nil, 0, err
	}
	if f == nil {
		if a.Fault == nil {
			a.Fault = fault.New(fault.Failed, "blob %s did not come", ref.short())
		}
		return nil, 0, a.Fault
	}
	return f, a.Size, nil
}

// give answers a want: the file, or why there is none.
func (s *socket) give(from Opener, ref Ref) error {
	f, size, err := from.Open(ref)
	if err != nil {
		return s.send(saying{Fault: fault.Of(err)}, nil)
	}
	defer f.Close()
	return s.send(saying{Size: size}, f)
}

// readOut scans paths, tells what is there and opens files for the agent until that closes the socket.
func readOut(ctx context.Context, s *socket, o order) error {
	tree, err := readTree(ctx, o)
	if err != nil {
		return s.send(saying{Result: &result{}, Fault: fault.Of(err)}, nil)
	}
	defer tree.Close()
	if err := s.send(saying{Result: &result{Tree: &tree.Manifest, Skipped: tree.Skipped}}, nil); err != nil {
		return err
	}
	for {
		var q saying
		f, err := s.recv(&q)
		if err != nil || f != nil {
			return nil // the agent has all that it wants
		}
		if err := s.give(tree, q.Want); err != nil {
			return err
		}
	}
}

func readTree(ctx context.Context, o order) (*Tree, error) {
	var all []string
	for _, p := range o.Read {
		full, err := resolve(o.Home, p)
		if err != nil {
			return nil, err
		}
		paths, err := expand(full)
		if err != nil {
			return nil, err
		}
		all = append(all, paths...)
	}
	return Scan(ctx, all)
}

// expand is what a path with wildcards names; a path that exists as it is written needs none.
func expand(p string) ([]string, error) {
	if _, err := os.Lstat(p); err == nil || !hasWildcard(p) {
		return []string{p}, nil
	}
	paths, err := filepath.Glob(p)
	if err != nil {
		return nil, fault.New(fault.Misused, "%s is no pattern: %w", p, err)
	}
	if len(paths) == 0 {
		return nil, fault.New(fault.NotFound, "nothing matches %s", p)
	}
	return paths, nil
}
