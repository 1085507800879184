package artefact_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	. "bramble/artefact"
	"bramble/fault"
	"bramble/trust"
)

var epoch = time.Unix(1, 0)

func uidOf(info fs.FileInfo) uint32 { return info.Sys().(*syscall.Stat_t).Uid }

const nobody = 65534

// TestRights is what an agent that is root must not do for a user who is not.
func TestRights(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: only root can give rights up")
	}
	r := newSpread(t, "n1")
	home := r.nodes["n1"].home
	operator, admin := r.copier("ann", trust.Operator), r.copier("ann", trust.Admin)
	system := filepath.Join(r.base, "etc")
	must(t, os.Mkdir(system, 0o755))
	passwd, shadow := filepath.Join(system, "passwd"), filepath.Join(system, "shadow")
	must(t, os.WriteFile(passwd, []byte("root"), 0o644))
	must(t, os.WriteFile(shadow, []byte("secret"), 0o600))
	must(t, os.Mkdir(filepath.Join(system, "private"), 0o700))
	plant(t, home, map[string]string{"way": "-> " + system, "passwd": "-> " + passwd, "shadow": "-> " + shadow, "tree/shadow": "-> " + shadow})
	file := filepath.Join(t.TempDir(), "passwd")
	must(t, os.WriteFile(file, []byte("mine"), 0o4755))

	for _, to := range []string{passwd, system, system + "/new", system + "/a/b/", "way", "way/passwd", "way/new", "way/private/x", "/etc/bramble-test-of-rights"} {
		done, err := r.push(operator, Push{On: "n1", To: to, Sources: []string{file}})
		if end := done["n1"]; err != nil || end.Code != fault.Denied || end.Try == "" {
			t.Errorf("push to %s: %+v, %v", to, end, err)
		}
	}
	for _, path := range []string{shadow, "shadow", "way/shadow", system + "/private/*", "way/private", "/proc/1/environ"} {
		dir := t.TempDir()
		done, err := r.pull(operator, Pull{On: "n1", Paths: []string{path}, Dir: dir})
		if end := done["n1"]; err != nil || end.Code != fault.Denied && end.Code != fault.NotFound {
			t.Errorf("pull %s: %+v, %v", path, end, err)
		}
		if list := show(t, dir); len(list) > 0 {
			t.Errorf("pull %s brought %v", path, list)
		}
	}
	if text, _ := os.ReadFile(passwd); string(text) != "root" {
		t.Fatalf("passwd is %q", text)
	}
	if list, _ := os.ReadDir(system); len(list) != 3 {
		t.Errorf("in the system's folder are %v", list)
	}

	here := t.TempDir()
	r.allOK(r.pull(operator, Pull{On: "n1", Paths: []string{"tree"}, Dir: here})) // a link inside stays one
	if to, err := os.Readlink(filepath.Join(here, "n1/tree/shadow")); to != shadow {
		t.Errorf("%q, %v", to, err)
	}

	r.allOK(r.push(operator, Push{On: "n1", To: "new/er/", Sources: []string{file}}))
	r.allOK(r.push(operator, Push{On: "n1", To: "passwd", Sources: []string{file}})) // replaces the link, not what it leads to
	for _, name := range []string{"new", "new/er", "new/er/passwd", "passwd"} {
		info, err := os.Lstat(filepath.Join(home, name))
		must(t, err)
		if uidOf(info) != nobody || info.Mode()&fs.ModeSetuid != 0 || info.Mode().Type() == fs.ModeSymlink {
			t.Errorf("%s: %v of %d", name, info.Mode(), uidOf(info))
		}
	}
	if text, _ := os.ReadFile(passwd); string(text) != "root" {
		t.Fatalf("passwd is %q", text)
	}

	r.allOK(r.push(admin, Push{On: "n1", To: system + "/motd", Sources: []string{file}, As: "root"}))
	if info, err := os.Stat(system + "/motd"); err != nil || uidOf(info) != 0 {
		t.Errorf("as root: %v", err)
	}
	r.allOK(r.pull(admin, Pull{On: "n1", Paths: []string{shadow}, Dir: here, As: "root"}))
	if text, err := os.ReadFile(filepath.Join(here, "n1/shadow")); !strings.Contains(string(text), "secret") {
		t.Errorf("as root: %q, %v", text, err)
	}
}
