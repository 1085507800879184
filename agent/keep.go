package agent

import (
	"errors"
	"os"
	"path/filepath"

	"bramble/artefact"
)

// SetKeep has the stores of a state folder, of which no agent runs, keep so many bytes at most from now on; 0: no limit.
func SetKeep(l Layout, head bool, bytes int64) error {
	if err := l.prepare(); err != nil {
		return err
	}
	dirs := []string{l.Node()}
	if head {
		if err := os.MkdirAll(l.Head(), 0o700); err != nil {
			return err
		}
		dirs = append(dirs, l.Head())
	}
	for _, dir := range dirs {
		s, err := artefact.OpenStore(filepath.Join(dir, "artefact"), artefact.Options{})
		if err != nil {
			return err
		}
		err = s.Change(func(set *artefact.Settings) { set.Keep = bytes })
		if err = errors.Join(err, s.Close()); err != nil {
			return err
		}
	}
	return nil
}
