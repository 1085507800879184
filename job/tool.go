package job

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// toolName is what the copy of this program is called.
const toolName = "bramble"

// tool is a path of this program that every account may execute: where it is, or if that is in a private folder, such
// as somebody's home, a copy beside the tasks' folders.
func (n *Node) tool() (string, error) {
	n.tools.Lock()
	defer n.tools.Unlock()
	if n.toolPath != "" {
		return n.toolPath, nil
	}
	exe, err := os.Executable()
	if err == nil && os.Geteuid() == 0 && !forAll(exe) {
		exe, err = toolCopy(exe, filepath.Join(n.Dir, toolName))
	}
	if err != nil {
		return "", fmt.Errorf("find a bramble that tasks may execute: %w", err)
	}
	n.toolPath = exe
	return exe, nil
}

// toolCopy is the copy of a program at to, which is made unless it is there already.
func toolCopy(exe, to string) (string, error) {
	ours, err := os.Stat(exe)
	if err != nil {
		return "", err
	}
	if there, err := os.Stat(to); err == nil && there.Size() == ours.Size() && there.ModTime().Equal(ours.ModTime()) {
		return to, nil
	}
	return to, copyTool(exe, to, ours)
}

// copyTool copies a program with its time, which tells whether it is still the same.
func copyTool(from, to string, info os.FileInfo) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.CreateTemp(filepath.Dir(to), "bramble-")
	if err != nil {
		return err
	}
	defer os.Remove(out.Name())
	_, err = io.Copy(out, in)
	err = errors.Join(err, out.Chmod(0o755), out.Sync(), out.Close(), os.Chtimes(out.Name(), info.ModTime(), info.ModTime()))
	if err != nil {
		return err
	}
	return os.Rename(out.Name(), to)
}

// forAll reports whether everybody may execute a file and pass through the folders above it.
func forAll(path string) bool {
	info, err := os.Stat(path)
	if err != nil || info.Mode()&0o005 != 0o005 {
		return false
	}
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		if info, err := os.Stat(dir); err != nil || info.Mode()&0o001 == 0 {
			return false
		}
		if dir == filepath.Dir(dir) {
			return true
		}
	}
}
