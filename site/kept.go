package site

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// keeping is what a node writes down of a site: what it does, so that it does it again when it starts.
type keeping struct {
	wanted
	Address string `json:"address,omitempty"` // where it is served: [ADDRESS]:PORT
	Error   string `json:"error,omitempty"`   // what the command said
}

func (n *Node) keptFile(name string) string { return filepath.Join(n.Dir, name+".json") }

// keep writes it down so that a crash leaves the old text or the new one.
func (h *hosted) keep(k keeping) error {
	data, err := json.Marshal(k)
	if err != nil {
		return err
	}
	h.n.mu.Lock()
	was, _ := json.Marshal(h.kept)
	h.n.mu.Unlock()
	if string(was) != string(data) {
		if err := replace(h.n.keptFile(h.name), data); err != nil {
			return err
		}
	}
	h.n.mu.Lock()
	defer h.n.mu.Unlock()
	h.kept = k
	return nil
}

func replace(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// readKept reads what was written down; what is damaged, the head will say again.
func (n *Node) readKept() (all []keeping, err error) {
	if err := os.MkdirAll(n.Dir, 0o700); err != nil {
		return nil, err
	}
	list, err := os.ReadDir(n.Dir)
	if err != nil {
		return nil, err
	}
	for _, d := range list {
		if d.IsDir() {
			continue
		}
		name, is := strings.CutSuffix(d.Name(), ".json")
		if !is || CheckName(name) != nil {
			os.Remove(filepath.Join(n.Dir, d.Name())) // of a write that was cut off
			continue
		}
		var k keeping
		data, err := os.ReadFile(n.keptFile(name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = json.Unmarshal(data, &k)
		}
		if err == nil && k.Spec.Name == name && k.Spec.Check() == nil {
			all = append(all, k)
			continue
		}
		n.Log.Warn("what this node should serve is not readable on its disk", "site", name, "error", err)
	}
	return all, nil
}
