package agent

import (
	"context"
	"io/fs"
	"net/http"
	"os"
	"path"
	"slices"

	"bramble/artefact"
	"bramble/fault"
	"bramble/host"
	"bramble/trust"
)

// taskFiles brings tasks their files from the head and takes back what they made.
type taskFiles struct {
	store  *artefact.Store
	client *artefact.Client
}

func (f taskFiles) Place(ctx context.Context, ref, dir string, owner host.Account) error {
	m, err := f.client.FetchTree(ctx, f.store, artefact.Ref(ref), nil)
	if err != nil {
		return err
	}
	var o artefact.PlaceOptions
	if os.Geteuid() == 0 {
		o.Owner = &artefact.Owner{UID: int(owner.UID), GID: int(owner.GID)}
	}
	return artefact.Place(ctx, f.store, m, dir, o)
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
	defer tree.Close()
	ref, err := f.client.Upload(ctx, tree, tree.Manifest, nil)
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
type jobInputs struct{ store *artefact.Store }

func (i jobInputs) Pin(ctx context.Context, name, ref string) error {
	return i.store.PinManifest(ctx, name, artefact.Ref(ref))
}

func (i jobInputs) Unpin(name string) error { return i.store.Unpin(name) }

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
