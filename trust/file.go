package trust

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"bramble/fault"
)

// secretMode is the mode of every file written here, folderMode that of their folders.
const (
	secretMode = 0o600
	folderMode = 0o700
)

// WriteFile puts data in path, for its owner alone, so that, whenever the power fails, path holds either all of it or what it held before.
func WriteFile(path string, data []byte) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, folderMode); err != nil {
		return fault.New(fault.Failed, "make the folder of %s: %w", path, err)
	}
	temp, err := os.CreateTemp(dir, "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return fault.New(fault.Failed, "write %s: %w", path, err)
	}
	_, err = temp.Write(data)
	err = errors.Join(err, temp.Sync(), temp.Close())
	if err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		os.Remove(temp.Name())
		return fault.New(fault.Failed, "write %s: %w", path, err)
	}
	return syncFolder(dir)
}

// syncFolder makes a rename in dir last.
func syncFolder(dir string) error {
	folder, err := os.Open(dir)
	if err != nil {
		return fault.New(fault.Failed, "sync %s: %w", dir, err)
	}
	if err := errors.Join(folder.Sync(), folder.Close()); err != nil {
		return fault.New(fault.Failed, "sync %s: %w", dir, err)
	}
	return nil
}

// readFile reads path; a missing file is fault.NotFound with the hint.
func readFile(path, hint string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New(fault.NotFound, "there is no %s", path).Hint("%s", hint)
	}
	if err != nil {
		return nil, fault.New(fault.Failed, "read: %w", err)
	}
	return data, nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
