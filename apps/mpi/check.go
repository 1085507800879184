package mpi

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"bramble/fault"
	"bramble/fleet"
)

// Found is what a node has for a program to run, looked at before anything is launched.
type Found struct {
	Node      string             `json:"node"`
	Arch      string             `json:"arch"`
	Versions  map[Library]string `json:"versions"` // of the libraries that are there
	Program   string             `json:"program"`  // its path; "" when it is not there
	Built     string             `json:"built"`    // the architecture that it was built for; "" for a script
	Links     []Library          `json:"links"`    // libraries of MPI that it is linked to
	Missing   []string           `json:"missing"`  // libraries that it needs and that are not there
	Trouble   string             `json:"trouble,omitempty"`
	MayNotRun bool               `json:"may_not_run,omitempty"` // it is no program that may be executed
}

// launchers are the names under which a library's own mpirun goes, the surest first.
var launchers = map[Library][]string{
	OpenMPI: {"mpirun.openmpi", "orterun", "prterun", "mpirun"},
	MPICH:   {"mpirun.mpich", "mpiexec.hydra", "mpirun"},
}

var (
	openVersion  = lazily(`(?m)^\S+ \((?:Open MPI|OpenRTE|PRRTE)\) (\S+)`)
	mpichVersion = lazily(`(?m)^HYDRA build details:\s*\n\s*Version:\s*(\S+)`)
)

// Launcher is the path of a library's mpirun here, and its version; fault.NotFound without one.
func Launcher(ctx context.Context, lib Library) (path, version string, err error) {
	pattern := openVersion
	if lib == MPICH {
		pattern = mpichVersion
	}
	for _, name := range launchers[lib] {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
		text, _ := exec.CommandContext(ctx, path, "--version").Output()
		cancel()
		if m := pattern().FindSubmatch(text); m != nil {
			return path, string(m[1]), nil
		}
	}
	return "", "", fault.New(fault.NotFound, "%s is not installed", lib).Hint("apt install %s", packages[lib])
}

// packages is what Debian calls them.
var packages = map[Library]string{OpenMPI: "openmpi-bin", MPICH: "mpich"}

// Look looks at this node.
func Look(ctx context.Context, node, program string) Found {
	f := Found{Node: node, Arch: runtime.GOARCH, Versions: map[Library]string{}}
	for lib := range launchers {
		if _, version, err := Launcher(ctx, lib); err == nil {
			f.Versions[lib] = version
		}
	}
	path, err := exec.LookPath(program)
	if errors.Is(err, exec.ErrDot) {
		err = nil
	}
	if err != nil {
		info, missing := os.Stat(program)
		f.MayNotRun = missing == nil && info.Mode().IsRegular() && errors.Is(err, fs.ErrPermission)
		return f
	}
	f.Program = path
	f.readProgram()
	return f
}

// readProgram reads what the program was built for; a script was built for nothing.
func (f *Found) readProgram() {
	file, err := elf.Open(f.Program)
	if err != nil {
		return
	}
	defer file.Close()
	f.Built = archOf(file.Machine)
	needs, _ := file.ImportedLibraries()
	for _, name := range needs {
		switch {
		case strings.HasPrefix(name, "libmpich.so"):
			f.Links = append(f.Links, MPICH)
		case strings.HasPrefix(name, "libmpi.so"):
			f.Links = append(f.Links, OpenMPI)
		default:
			continue
		}
		if !libraryHere(name) {
			f.Missing = append(f.Missing, name)
		}
	}
}

func archOf(m elf.Machine) string {
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
		return "riscv64"
	}
	return strings.ToLower(strings.TrimPrefix(m.String(), "EM_"))
}

// libraryHere looks where the loader of Debian and its kin looks.
func libraryHere(name string) bool {
	dirs := filepath.SplitList(os.Getenv("LD_LIBRARY_PATH"))
	for _, pattern := range []string{"/lib", "/lib/*", "/usr/lib", "/usr/lib/*", "/usr/lib64", "/usr/local/lib", "/usr/local/lib/*", "/opt/*/lib"} {
		found, _ := filepath.Glob(pattern)
		dirs = append(dirs, found...)
	}
	return slices.ContainsFunc(dirs, func(dir string) bool {
		_, err := os.Stat(filepath.Join(dir, name))
		return err == nil
	})
}

// Choose is the library to launch a program with: the one that was asked for, else the one that it is linked to, else
// the one that all nodes have. Before anything is launched, the error says what stands against it, node by node.
func Choose(asked Library, program string, nodes []Found) (Library, error) {
	lib := asked
	for _, f := range nodes {
		if lib == "" && len(f.Links) > 0 {
			lib = f.Links[0]
		}
	}
	for _, candidate := range []Library{OpenMPI, MPICH} {
		if lib == "" && !slices.ContainsFunc(nodes, func(f Found) bool { return f.Versions[candidate] == "" }) {
			lib = candidate
		}
	}
	if lib == "" {
		return "", fault.New(fault.NotFound, "the nodes have no library of MPI in common: %s", byNode(nodes, func(f Found) string { return "has " + f.libraries() })).
			Hint("bramble run --on all --as root -- apt install openmpi-bin")
	}
	if text := byNode(nodes, func(f Found) string { return f.against(lib, program) }); text != "" {
		return lib, fault.New(fault.Failed, "nothing was launched: %s", text).Hint("%s", remedy(lib, program, nodes))
	}
	if text := differing(lib, nodes); text != "" {
		return lib, fault.New(fault.Failed, "nothing was launched: the nodes have different versions of %s: %s", lib, text).
			Hint("bramble run --on all --as root -- apt install %s", packages[lib])
	}
	return lib, nil
}

// against is what stands against launching on a node; "" when nothing does.
func (f Found) against(lib Library, program string) string {
	switch {
	case f.Trouble != "":
		return "cannot be looked at: " + f.Trouble
	case f.Versions[lib] == "":
		return "has no " + string(lib)
	case f.MayNotRun:
		return "may not execute " + program
	case f.Program == "":
		return "has no program " + program
	case f.Built != "" && !runs(f.Arch, f.Built):
		return fmt.Sprintf("is %s, and %s was built for %s", f.Arch, filepath.Base(program), f.Built)
	case len(f.Missing) > 0:
		return "lacks " + strings.Join(f.Missing, ", ")
	case len(f.Links) > 0 && !slices.Contains(f.Links, lib):
		return fmt.Sprintf("would run it with %s, and it is linked to %s", lib, f.Links[0])
	}
	return ""
}

// runs reports whether a machine runs programs built for an architecture.
func runs(machine, built string) bool {
	return machine == built || machine == "arm64" && built == "arm" || machine == "amd64" && built == "386"
}

func (f Found) libraries() string {
	var list []string
	for _, lib := range []Library{OpenMPI, MPICH} {
		if v := f.Versions[lib]; v != "" {
			list = append(list, string(lib)+" "+v)
		}
	}
	if list == nil {
		return "none"
	}
	return strings.Join(list, " and ")
}

// byNode joins what is said of nodes: "node[1-2] has no mpich; node3 …".
func byNode(nodes []Found, say func(Found) string) string {
	names := map[string][]string{}
	var order []string
	for _, f := range nodes {
		text := say(f)
		if text == "" {
			continue
		}
		if names[text] == nil {
			order = append(order, text)
		}
		names[text] = append(names[text], f.Node)
	}
	for i, text := range order {
		order[i] = fleet.Fold(names[text]) + " " + text
	}
	return strings.Join(order, "; ")
}

// differing says which versions there are, if there are several.
func differing(lib Library, nodes []Found) string {
	for _, f := range nodes {
		if f.Versions[lib] != nodes[0].Versions[lib] {
			return byNode(nodes, func(f Found) string { return "has " + f.Versions[lib] })
		}
	}
	return ""
}

// remedy is what to type when something stands against launching on some of the nodes.
func remedy(lib Library, program string, nodes []Found) string {
	var without []string
	advice := "bramble nodes, to see how they are"
	for _, f := range nodes {
		switch {
		case f.Trouble != "":
		case f.Versions[lib] == "" || len(f.Missing) > 0:
			without = append(without, f.Node)
		case f.MayNotRun:
			advice = "chmod +x " + program
		case f.Program == "":
			advice = fmt.Sprintf("bramble mpi -n 4 ./%s, if it is on this machine: it travels", filepath.Base(program))
		case f.Built != "" && !runs(f.Arch, f.Built):
			advice = fmt.Sprintf("--on with nodes of one kind, such as --on arch=%s", f.Built)
		case len(f.Links) > 0 && !slices.Contains(f.Links, lib):
			advice = fmt.Sprintf("--mpi %s, or leave --mpi out", f.Links[0])
		}
	}
	if without != nil {
		advice = fmt.Sprintf("bramble run --on '%s' --as root -- apt install %s", fleet.Fold(without), packages[lib])
	}
	return advice
}
