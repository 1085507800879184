package site

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// apache is Debian's web server as a person may run it: mod_rewrite, and rules that the site brings in .htaccess.
const apache = `ServerRoot %[1]s
ServerName localhost
PidFile %[1]s/pid
ErrorLog %[1]s/error.log
Listen 127.0.0.1:%[2]d
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule dir_module /usr/lib/apache2/modules/mod_dir.so
LoadModule rewrite_module /usr/lib/apache2/modules/mod_rewrite.so
User www-data
Group www-data
DocumentRoot %[3]s/current
<Directory %[3]s>
	Options FollowSymLinks
	AllowOverride All
	Require all granted
</Directory>
`

// TestApache has a web server that is there already serve releases.
func TestApache(t *testing.T) {
	program, err := exec.LookPath("apache2")
	if err != nil {
		if program = "/usr/sbin/apache2"; os.Geteuid() != 0 {
			t.Skip("needs apache2 and root")
		}
		if _, err := os.Stat(program); err != nil {
			t.Skip("needs apache2: scripts/setup")
		}
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root, as apache2 does for its user")
	}
	dir, err := os.MkdirTemp("/tmp", "apache")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	os.Chmod(dir, 0o755)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	srv, conf := filepath.Join(dir, "srv"), filepath.Join(dir, "apache2.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, apache, dir, port, srv), 0o644); err != nil {
		t.Fatal(err)
	}
	control := func(what string) string {
		return fmt.Sprintf("%s -f %s -k %s && echo %s >>%s/said", program, conf, what, what, dir)
	}
	t.Cleanup(func() { exec.Command(program, "-f", conf, "-k", "stop").Run() })
	get := func(path string) string {
		resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d%s", port, path))
		if err != nil {
			return err.Error()
		}
		defer resp.Body.Close()
		data, _ := io.ReadAll(resp.Body)
		return string(data)
	}

	w := newWorld(t, "one")
	shop := folder(t, "index.html", "first", "old.html", "first old", ".htaccess", "RewriteEngine On\nRewriteRule ^new$ old.html [L]\n")
	events, err := w.publish(shop, Spec{Folder: srv, Exec: control("start")})
	if err != nil {
		t.Fatal(err)
	}
	for _, ev := range events {
		if ev.Error != "" {
			t.Fatalf("%+v", ev)
		}
	}
	w.until("apache serves the first release", func() bool { return get("/") == "first" })
	if got := get("/new"); got != "first old" {
		t.Errorf("what .htaccess rewrites is %q", got)
	}
	write(t, shop, "index.html", "second", ".htaccess", "RewriteEngine On\nRewriteRule ^newer$ old.html [L]\n")
	if _, err := w.publish(shop, Spec{Folder: srv, Exec: control("graceful")}); err != nil {
		t.Fatal(err)
	}
	if got := get("/"); got != "second" {
		t.Errorf("after the second publication: %q", got)
	}
	if got := get("/newer"); got != "first old" {
		t.Errorf("what the new .htaccess rewrites is %q", got)
	}
	if _, err := collect(w.client().Rollback(t.Context(), Rollback{Name: "blog"})); err != nil {
		t.Fatal(err)
	}
	if got := get("/") + get("/new"); got != "firstfirst old" {
		t.Errorf("after a rollback: %q", got)
	}
	said, _ := os.ReadFile(filepath.Join(dir, "said"))
	if strings.Fields(string(said))[0] != "start" || strings.Count(string(said), "graceful") != 2 {
		t.Errorf("the commands that ran: %q", said)
	}
	for n := range Kept {
		write(t, shop, "index.html", fmt.Sprint("more ", n))
		if _, err := w.publish(shop, Spec{}); err != nil {
			t.Fatal(err)
		}
	}
	if list, err := os.ReadDir(filepath.Join(srv, "releases")); err != nil || len(list) != Kept {
		t.Errorf("%d releases are laid out, %v", len(list), err)
	}
	events, err = w.publish(shop, Spec{Folder: srv, Exec: "echo no way; exit 3"})
	complaint := ""
	for _, ev := range events {
		if ev.Kind == Live {
			complaint = ev.Error
		}
	}
	if err != nil || !strings.Contains(complaint, "status 3: no way") {
		t.Errorf("a command that fails: %q %v", complaint, err)
	}
}
