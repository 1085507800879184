package agent

import (
	"context"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"bramble/artefact"
	"bramble/fault"
	"bramble/host"
	"bramble/trust"
)

// taskFiles brings tasks their files from the head and takes back what they made.
type taskFiles struct {
	node *artefact.Node
	dir  string // below which each job has a folder of its number
}

// Place lays out an artefact whose blobs are held here until it is.
func (f taskFiles) Place(ctx context.Context, ref, dir string, owner host.Account) error {
	below, _ := filepath.Rel(f.dir, dir)
	number, _, _ := strings.Cut(filepath.ToSlash(below), "/")
	m, release, err := f.node.FetchHeld(ctx, "job-"+number, artefact.Ref(ref))
	if err != nil {
		return err
	}
	defer release()
	o := artefact.PlaceOptions{NoSync: true} // after a power cut no task goes on where it was
	if os.Geteuid() == 0 {
		o.Owner = &artefact.Owner{UID: int(owner.UID), GID: int(owner.GID)}
	}
	return artefact.Place(ctx, f.node.Store, m, dir, o)
}

func (f taskFiles) Collect(ctx context.Context, dir string, globs []string) (string, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", err
	}
	defer root.Close()
	paths, err := matching(root.FS(), globs)
	if err != nil || len(paths) == 0 {
		return "", err
	}
	tree, err := artefact.ScanRoot(ctx, root, paths)
	if err != nil {
		return "", err
	}
	return f.send(ctx, tree)
}

// backLimit is what may come back of one task's folder when nobody named what should.
var backLimit = artefact.Limit{Bytes: 2 << 30, Files: 50_000}

// Changes asks the head what the base was when it is not here any more.
func (f taskFiles) Changes(ctx context.Context, dir, base string, globs []string) (string, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", err
	}
	defer root.Close()
	var m artefact.Manifest
	if base != "" {
		if m, err = f.node.Blobs.FetchList(ctx, f.node.Store, artefact.Ref(base)); err != nil {
			return "", err
		}
	}
	limit := backLimit
	if len(globs) > 0 {
		limit = artefact.Limit{}
	}
	tree, err := artefact.ScanChanges(ctx, root, m, globs, limit)
	if err != nil {
		return "", err
	}
	if len(tree.Manifest.Entries) == 0 {
		return "", tree.Close()
	}
	return f.send(ctx, tree)
}

func (f taskFiles) send(ctx context.Context, tree *artefact.Tree) (string, error) {
	defer tree.Close()
	ref, err := f.node.Blobs.Upload(ctx, tree, tree.Manifest, nil)
	return string(ref), err
}

// matching is the paths that the globs name, each once.
func matching(fsys fs.FS, globs []string) ([]string, error) {
	var paths []string
	for _, g := range globs {
		found, err := fs.Glob(fsys, path.Clean(g))
		if err != nil {
			return nil, fault.New(fault.Misused, "--return %q is no pattern: %w", g, err)
		}
		paths = append(paths, found...)
	}
	slices.Sort(paths)
	return slices.Compact(paths), nil
}

// jobInputs keeps jobs' files in the head's store.
type jobInputs struct{ *artefact.Store }

func (i jobInputs) Pin(ctx context.Context, name string, refs ...string) error {
	var all []artefact.Ref
	for _, ref := range refs {
		m, err := i.GetManifest(ctx, artefact.Ref(ref))
		if err != nil {
			return err
		}
		all = append(all, artefact.Ref(ref))
		for _, b := range m.Blobs() {
			all = append(all, b.Ref)
		}
	}
	return i.Store.Pin(name, all...)
}

func (i jobInputs) PinList(name, ref string) error {
	if ref == "" {
		return nil
	}
	return i.Store.Pin(name, artefact.Ref(ref))
}

// mayExchange lets members and people who may run things read and write artefacts.
func mayExchange(verify trust.Verify) func(*http.Request) error {
	return func(r *http.Request) error {
		id, err := trust.Peer(r.TLS, verify)
		if err != nil {
			return err
		}
		if id.Kind == trust.KindClient && !id.Role.Includes(trust.Operator) {
			return fault.New(fault.Denied, "%s may not exchange files", id).Hint("ask an admin for the role operator")
		}
		return nil
	}
}
