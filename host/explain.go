package host

import (
	"bytes"
	"debug/elf"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"bramble/fault"
)

// lookPath finds a program in the PATH of env, as seen from the folder.
func lookPath(name, folder string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil // the kernel's own answer says more than ours could
	}
	path := pathOf(env)
	var refused string
	for dir := range strings.SplitSeq(path, ":") {
		file := filepath.Join(first(dir, "."), name)
		switch info, err := os.Stat(inFolder(folder, file)); {
		case err != nil || info.IsDir():
		case info.Mode()&0o111 == 0:
			refused = first(refused, file)
		case !strings.Contains(file, "/"):
			return "./" + file, nil
		default:
			return file, nil
		}
	}
	if refused != "" {
		return "", fault.New(fault.Denied, "%s is not executable", refused).Hint("chmod +x %s", refused)
	}
	return "", fault.New(fault.NotFound, "no program %q in %s", name, path).
		Hint("install it on the node, name its full path, or set PATH")
}

// inFolder is where a file is that is seen from a folder.
func inFolder(folder, file string) string {
	if folder == "" || filepath.IsAbs(file) {
		return file
	}
	return filepath.Join(folder, file)
}

func pathOf(env []string) string {
	path := defaultPath
	for _, v := range env {
		if p, ok := strings.CutPrefix(v, "PATH="); ok {
			path = p
		}
	}
	return path
}

// explainDir says why a working folder cannot be entered.
func explainDir(dir string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fault.New(fault.NotFound, "no folder %s on this machine", dir).Hint("mkdir -p %s", dir)
	case errors.Is(err, syscall.ENOTDIR):
		return fault.New(fault.Misused, "%s is not a folder", dir).Hint("name the folder it is in: %s", filepath.Dir(dir))
	case errors.Is(err, fs.ErrPermission):
		return fault.New(fault.Denied, "the folder %s may not be entered", dir).Hint("ls -ld %s", dir)
	}
	return fault.New(fault.Failed, "enter the folder %s: %w", dir, err)
}

// explainExec says why the kernel would not run path, in words a person can act on.
// The kernel's error stays wrapped.
func explainExec(path string, cmd Command, err error) error {
	switch {
	case errors.Is(err, syscall.ENOENT):
		return explainMissing(path, inFolder(cmd.Dir, path), err)
	case errors.Is(err, syscall.ENOTDIR):
		return fault.New(fault.NotFound, "no program %s: a part of its path is not a folder: %w", path, err)
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return explainRefused(path, inFolder(cmd.Dir, path), cmd.User, err)
	case errors.Is(err, syscall.ENOEXEC):
		return explainFormat(path, inFolder(cmd.Dir, path), err)
	case errors.Is(err, syscall.E2BIG):
		return fault.New(fault.Misused, "the arguments and environment of %s are too long: %w", path, err).
			Hint("put them into a file")
	case errors.Is(err, syscall.ETXTBSY):
		return fault.New(fault.Conflict, "%s is being written to at this moment: %w", path, err).Hint("run it again")
	case errors.Is(err, syscall.EINVAL):
		return fault.New(fault.Misused, "an argument or variable of %s has a zero byte in it: %w", path, err)
	case errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.ENOMEM), errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return fault.New(fault.Full, "no room for another process: %w", err).Hint("wait for others to end, or raise the limit")
	}
	return fault.New(fault.Failed, "start %s: %w", path, err)
}

// explainMissing tells, of a file that was named by path, a missing program from one whose interpreter is missing.
func explainMissing(path, file string, err error) error {
	if _, gone := os.Stat(file); gone != nil {
		return fault.New(fault.NotFound, "no program %s on this machine: %w", path, err).Hint("ls -l %s", path)
	}
	interpreter := interpreterOf(file)
	if strings.HasSuffix(interpreter, "\r") {
		return fault.New(fault.NotFound, "%s has the line ends of Windows, so its interpreter %q does not exist: %w",
			path, interpreter, err).Hint("sed -i 's/\\r$//' %s", path)
	}
	return fault.New(fault.NotFound, "%s needs %s, which this machine does not have: %w",
		path, first(interpreter, "an interpreter"), err).
		Hint("install it, or build the program as a static one")
}

func explainRefused(path, file, user string, err error) error {
	info, statErr := os.Stat(file)
	switch {
	case statErr == nil && info.IsDir():
		return fault.New(fault.Denied, "%s is a folder: %w", path, err).Hint("name the program inside it")
	case statErr == nil && info.Mode()&0o111 == 0:
		return fault.New(fault.Denied, "%s is not executable: %w", path, err).Hint("chmod +x %s", path)
	}
	return fault.New(fault.Denied, "%s may not run %s: %w", first(user, "this account"), path, err).
		Hint("namei -l %s shows which part of the path is closed; a file system may be mounted noexec", path)
}

// explainFormat tells a program for another processor from a script without its first line.
func explainFormat(path, file string, err error) error {
	f, openErr := os.Open(file)
	if openErr != nil {
		return fault.New(fault.Failed, "this machine cannot run %s: %w", path, err)
	}
	defer f.Close()
	switch file, elfErr := elf.NewFile(f); {
	case elfErr == nil:
		return fault.New(fault.Failed, "%s was built for %s, and this machine is %s: %w",
			path, machineName(file.Machine, file.Class), runtime.GOARCH, err).
			Hint("build it for linux/%s, or choose nodes with --on", runtime.GOARCH)
	case isText(f):
		return fault.New(fault.Failed, "%s is a script without a first line that names its interpreter: %w", path, err).
			Hint("begin it with #!/bin/sh, or run: sh %s", path)
	}
	return fault.New(fault.Failed, "%s is no program for Linux: %w", path, err).Hint("file %s", path)
}

// machineName is an ELF file's processor in Go's words.
func machineName(m elf.Machine, class elf.Class) string {
	switch m {
	case elf.EM_X86_64:
		return "amd64"
	case elf.EM_386:
		return "386"
	case elf.EM_AARCH64:
		return "arm64"
	case elf.EM_ARM:
		return "arm"
	case elf.EM_RISCV:
		if class == elf.ELFCLASS64 {
			return "riscv64"
		}
	}
	return strings.ToLower(strings.TrimPrefix(m.String(), "EM_"))
}

// interpreterOf is what the kernel starts for a file: the program of a script's first
// line, or an ELF file's dynamic loader.
func interpreterOf(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	head := make([]byte, 256)
	n, _ := io.ReadFull(f, head)
	if line, ok := bytes.CutPrefix(head[:n], []byte("#!")); ok {
		line, _, _ = bytes.Cut(line, []byte("\n"))
		name, _, _ := strings.Cut(strings.Trim(string(line), " \t"), " ")
		return name
	}
	file, err := elf.NewFile(f)
	if err != nil {
		return ""
	}
	for _, p := range file.Progs {
		if p.Type == elf.PT_INTERP && p.Filesz < 4096 {
			name, _ := io.ReadAll(p.Open())
			return strings.TrimRight(string(name), "\x00")
		}
	}
	return ""
}

// isText reports whether a file's beginning has no zero bytes.
func isText(f io.ReaderAt) bool {
	head := make([]byte, 256)
	n, _ := f.ReadAt(head, 0)
	return n > 0 && !bytes.Contains(head[:n], []byte{0})
}
