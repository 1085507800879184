package mpi_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"bramble/apps/mpi"
	"bramble/lab/labtest"
)

// What stands against a launch is said node by node, with what to type, and no rank starts.
func beforeTheLaunch(t *testing.T, l *labtest.Lab, lib mpi.Library, hello string) {
	mpirun := map[mpi.Library]string{mpi.OpenMPI: "orterun", mpi.MPICH: "mpiexec.hydra"}[lib]
	object := map[mpi.Library]string{mpi.OpenMPI: "libmpi.so.40", mpi.MPICH: "libmpich.so.12"}[lib]
	apt := map[mpi.Library]string{mpi.OpenMPI: "openmpi-bin", mpi.MPICH: "mpich"}[lib]
	_, version, err := mpi.Launcher(t.Context(), lib)
	must(t, err)
	foreign := "arm64"
	if runtime.GOARCH == foreign {
		foreign = "amd64"
	}
	abroad := filepath.Join(t.TempDir(), "abroad")
	build := exec.Command("go", "build", "-trimpath", "-o", abroad, "testdata/abroad.go")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH="+foreign)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for name, c := range map[string]struct {
		node, dir string
		layer     map[string]string
		program   []string
		want, try string
	}{
		"no library on one": {"node2", "/usr/bin", map[string]string{mpirun: ""}, []string{"./hello"},
			"node2 has no " + string(lib), "bramble run --on 'node2' --as root -- apt install " + apt},
		"another version on one": {"node3", "/usr/bin", map[string]string{mpirun: version1(lib)}, []string{"./hello"},
			"the nodes have different versions of " + string(lib) + ": node[1-2,4] has " + version + "; node3 has 1.2.3", "bramble run --on all --as root -- apt install " + apt},
		"no shared object on one": {"node4", objects(t, object), map[string]string{object: ""}, []string{"./hello"},
			"node4 lacks " + object, "bramble run --on 'node4' --as root -- apt install " + apt},
		"for another machine": {"", "", nil, []string{"--mpi", string(lib), "./abroad"},
			fmt.Sprintf("node[1-4] is %s, and abroad was built for %s", runtime.GOARCH, foreign), "--on with nodes of one kind, such as --on arch=" + foreign},
		"no such program": {"", "", nil, []string{"--mpi", string(lib), "--", "/opt/solve"},
			"node[1-4] has no program /opt/solve", "bramble mpi -n 4 ./solve, if it is on this machine: it travels"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.layer != nil {
				cover(t, l, c.node, c.dir, c.layer)
			}
			dir := filepath.Dir(hello)
			if c.program[len(c.program)-1] == "./abroad" {
				dir = filepath.Dir(abroad)
			}
			r := typed(t, l, dir, append([]string{"mpi", "-n", "8", "--nodes", "4"}, c.program...)...)
			want := fmt.Sprintf("failed on node1: nothing was launched: %s\ntry: %s\n", c.want, c.try)
			if r.Code != 1 || !strings.HasSuffix(r.Stderr, want) || strings.Count(r.Stderr, "nothing was launched") != 1 || r.Stdout != "" {
				t.Errorf("status %d, want 1 and %q\n%s%s", r.Code, want, r.Stdout, r.Stderr)
			}
		})
	}
	if r := typed(t, l, filepath.Dir(hello), "mpi", "-n", "8", "--nodes", "4", "./hello"); r.Code != 0 {
		t.Errorf("with nothing against it: status %d\n%s", r.Code, r.Stderr)
	}
}

// version1 is an mpirun that says to be of another version.
func version1(lib mpi.Library) string {
	if lib == mpi.MPICH {
		return "#!/bin/sh\nprintf 'HYDRA build details:\\n    Version:    1.2.3\\n'\n"
	}
	return "#!/bin/sh\necho 'mpirun (Open MPI) 1.2.3'\n"
}

// objects is the folder that a shared object is in.
func objects(t *testing.T, name string) string {
	t.Helper()
	found, err := filepath.Glob("/usr/lib/*/" + name)
	if err != nil || len(found) == 0 {
		t.Fatalf("no %s: %v", name, err)
	}
	return filepath.Dir(found[0])
}

// cover puts programs over a folder of one node, and takes away those without a text, until the test ends.
func cover(t *testing.T, l *labtest.Lab, node, dir string, files map[string]string) {
	t.Helper()
	top, err := os.MkdirTemp(filepath.Join(l.State, node), "cover") // which the node sees
	must(t, err)
	must(t, os.Chmod(top, 0o755))
	for name, text := range files {
		path := filepath.Join(top, name)
		if text == "" {
			must(t, unix.Mknod(path, unix.S_IFCHR, 0)) // how an overlay says that a file is gone
			continue
		}
		must(t, os.WriteFile(path, []byte(text), 0o755))
	}
	nodes, err := l.PS()
	must(t, err)
	for _, n := range nodes {
		if n.Node == node {
			inside := func(words ...string) {
				words = append([]string{fmt.Sprintf("--mount=/proc/%d/ns/mnt", n.Agent)}, words...)
				if out, err := exec.Command("nsenter", words...).CombinedOutput(); err != nil {
					t.Errorf("nsenter %s: %v\n%s", words, err, out)
				}
			}
			inside("mount", "-t", "overlay", "cover", "-o", "lowerdir="+top+":"+dir, dir)
			t.Cleanup(func() { inside("umount", "-l", dir) })
		}
	}
}
