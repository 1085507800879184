package site

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"bramble/artefact"
	"bramble/fault"
)

// tarOf makes a tar archive of headers; regular files hold their own names.
func tarOf(t *testing.T, headers ...tar.Header) []byte {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, h := range headers {
		if h.Typeflag == 0 {
			h.Typeflag, h.Size, h.Mode = tar.TypeReg, int64(len(h.Name)), 0o644
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			io.WriteString(w, h.Name)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func gzipped(data []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	w.Write(data)
	w.Close()
	return out.Bytes()
}

func zipOf(t *testing.T, entries ...zip.FileHeader) []byte {
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for _, h := range entries {
		target := h.Comment
		h.Method = zip.Deflate
		f, err := w.CreateHeader(&h)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(f, target)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// unpacked unpacks data and returns the folder.
func unpacked(t *testing.T, data []byte) (string, error) {
	dir := t.TempDir()
	file := filepath.Join(dir, "site.archive")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return Source(file).folder(t.Context(), dir)
}

func TestUnpack(t *testing.T) {
	plain := tarOf(t, tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755}, tar.Header{Name: "index.html"}, tar.Header{Name: "a/b/c.css"},
		tar.Header{Name: "a/", Typeflag: tar.TypeDir, Mode: 0o700}, tar.Header{Name: "c.css", Typeflag: tar.TypeSymlink, Linkname: "a/b/c.css"},
		tar.Header{Name: "again.html", Typeflag: tar.TypeLink, Linkname: "./index.html"}, tar.Header{Name: "up", Typeflag: tar.TypeSymlink, Linkname: "a/../index.html"})
	var packed bytes.Buffer
	z, _ := zstd.NewWriter(&packed)
	z.Write(plain)
	z.Close()
	for name, data := range map[string][]byte{"tar": plain, "tar.gz": gzipped(plain), "tar.zst": packed.Bytes()} {
		dir, err := unpacked(t, data)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for path, want := range map[string]string{"index.html": "index.html", "a/b/c.css": "a/b/c.css", "c.css": "a/b/c.css", "again.html": "index.html", "up": "index.html"} {
			if got, err := os.ReadFile(filepath.Join(dir, path)); err != nil || string(got) != want {
				t.Errorf("%s: %s is %q %v", name, path, got, err)
			}
		}
	}
	one := zip.FileHeader{Name: "blog/index.html", Comment: "hello"}
	link := zip.FileHeader{Name: "blog/home", Comment: "index.html"}
	link.SetMode(fs.ModeSymlink | 0o777)
	dir, err := unpacked(t, zipOf(t, one, link))
	if got, _ := os.ReadFile(filepath.Join(dir, "home")); err != nil || string(got) != "hello" {
		t.Errorf("a zip with one folder: %q %v", got, err)
	}
}

func TestUnpackRefuses(t *testing.T) {
	evil := zip.FileHeader{Name: "home", Comment: "/etc/passwd"}
	evil.SetMode(fs.ModeSymlink | 0o777)
	device := zip.FileHeader{Name: "disk"}
	device.SetMode(fs.ModeDevice | 0o644)
	whole := gzipped(tarOf(t, tar.Header{Name: "index.html"}, tar.Header{Name: strings.Repeat("long/", 30) + "page.html"}))
	damaged := bytes.Clone(whole)
	damaged[len(damaged)-8] ^= 1 // of the checksum
	for name, c := range map[string]struct {
		data []byte
		says string
	}{
		"a path that leads out":           {tarOf(t, tar.Header{Name: "index.html"}, tar.Header{Name: "../evil.html"}), `"../evil.html"`},
		"one in the middle":               {tarOf(t, tar.Header{Name: "a/../../evil.html"}), `"a/../../evil.html"`},
		"one that stays inside":           {tarOf(t, tar.Header{Name: "a/../evil.html"}), `"a/../evil.html"`},
		"a path from the root":            {tarOf(t, tar.Header{Name: "/etc/passwd"}), `"/etc/passwd"`},
		"a link that leads out":           {tarOf(t, tar.Header{Name: "a/home", Typeflag: tar.TypeSymlink, Linkname: "../../x"}), `"a/home"`},
		"a link from the root":            {tarOf(t, tar.Header{Name: "home", Typeflag: tar.TypeSymlink, Linkname: "/etc"}), `"home"`},
		"a file below a link":             {tarOf(t, tar.Header{Name: "a/x"}, tar.Header{Name: "home", Typeflag: tar.TypeSymlink, Linkname: "a"}, tar.Header{Name: "home/evil.html"}), `"home/evil.html"`},
		"a file below a file":             {tarOf(t, tar.Header{Name: "a"}, tar.Header{Name: "a/b"}), `"a/b"`},
		"a hard link to what is not here": {tarOf(t, tar.Header{Name: "home", Typeflag: tar.TypeLink, Linkname: "/etc/passwd"}), `"home"`},
		"a hard link to a link":           {tarOf(t, tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "x"}, tar.Header{Name: "h", Typeflag: tar.TypeLink, Linkname: "l"}), `"h"`},
		"a device":                        {tarOf(t, tar.Header{Name: "disk", Typeflag: tar.TypeBlock}), `"disk"`},
		"a pipe":                          {tarOf(t, tar.Header{Name: "pipe", Typeflag: tar.TypeFifo}), `"pipe"`},
		"a path twice":                    {tarOf(t, tar.Header{Name: "a"}, tar.Header{Name: "./a"}), `"./a"`},
		"a file where a folder is":        {tarOf(t, tar.Header{Name: "a/b"}, tar.Header{Name: "a"}), `"a"`},
		"a backslash":                     {tarOf(t, tar.Header{Name: `a\b`}), `"a\\b"`},
		"a name that is no UTF-8":         {tarOf(t, tar.Header{Name: "a\xff", Format: tar.FormatGNU}), `a\xff`},
		"a gzip that is cut off":          {whole[:len(whole)-20], "page.html"},
		"a gzip without its end":          {whole[:len(whole)-4], "cut off"},
		"a gzip that is damaged":          {damaged, "page.html"},
		"a tar that is cut off":           {tarOf(t, tar.Header{Name: "index.html"})[:600], "index.html"},
		"a zip with a path out":           {zipOf(t, zip.FileHeader{Name: "../evil.html"}), `"../evil.html"`},
		"a zip with a path from the root": {zipOf(t, zip.FileHeader{Name: "/evil.html"}), `"/evil.html"`},
		"a zip with a link out":           {zipOf(t, evil), `"home"`},
		"a zip with a device":             {zipOf(t, device), `"disk"`},
		"a zip with a path twice":         {zipOf(t, zip.FileHeader{Name: "a"}, zip.FileHeader{Name: "a"}), `"a"`},
		"a zip that is cut off":           {zipOf(t, zip.FileHeader{Name: "a"})[:40], "site.archive"},
		"a picture":                       {[]byte("\x89PNG\r\n\x1a\n"), "no archive"},
		"nothing":                         {nil, "no archive"},
	} {
		_, err := unpacked(t, c.data)
		if !fault.Is(err, fault.Misused) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, which does not say %s", name, err, c.says)
		}
	}
}

// endless yields tar entries without end.
type endless struct {
	n   int
	buf bytes.Buffer
}

func (e *endless) Read(p []byte) (int, error) {
	for e.buf.Len() < len(p) {
		w := tar.NewWriter(&e.buf)
		if err := w.WriteHeader(&tar.Header{Name: fmt.Sprint("a/", e.n), Typeflag: tar.TypeDir}); err != nil {
			return 0, err
		}
		w.Flush()
		e.n++
	}
	return e.buf.Read(p)
}

func TestUnpackCaps(t *testing.T) {
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	u := &unpacking{ctx: t.Context(), name: "many.tar", root: root, has: map[string]byte{"a": aFolder}, in: func() int64 { return 0 }}
	for i := range MaxFiles + 1 { // so that none has to be made
		u.has[fmt.Sprint("a/", i)] = aFolder
	}
	if err := u.tar(&endless{}); !fault.Is(err, fault.Misused) || !strings.Contains(err.Error(), fmt.Sprintf("a/%d", MaxFiles)) {
		t.Errorf("entries without end: %v", err)
	}
	var zeros bytes.Buffer
	z := gzip.NewWriter(&zeros)
	w := tar.NewWriter(z)
	const size = 256 << 20 // of the 10 GB that it might be
	if err := w.WriteHeader(&tar.Header{Name: "zeros.bin", Typeflag: tar.TypeReg, Size: size, Mode: 0o644}); err != nil {
		t.Fatal(err)
	}
	block := make([]byte, 1<<20)
	for range size >> 20 {
		w.Write(block)
	}
	w.Close()
	z.Close()
	var zipped bytes.Buffer
	y := zip.NewWriter(&zipped)
	f, _ := y.Create("zeros.bin")
	for range size >> 20 {
		f.Write(block)
	}
	y.Close()
	for name, data := range map[string][]byte{"a tar of zeros": zeros.Bytes(), "a zip of zeros": zipped.Bytes()} {
		dir := t.TempDir()
		file := filepath.Join(dir, "bomb")
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Source(file).folder(t.Context(), dir); !fault.Is(err, fault.Misused) || !strings.Contains(err.Error(), "zeros.bin") {
			t.Errorf("%s: %v", name, err)
		}
		if info, err := os.Stat(filepath.Join(dir, "unpacked", "zeros.bin")); err == nil && info.Size() > ratioFrom+1<<20 {
			t.Errorf("%s: %d bytes were written", name, info.Size())
		}
	}
}

func TestDownload(t *testing.T) {
	data := gzipped(tarOf(t, tar.Header{Name: "index.html"}))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/blog.tar.gz":
			w.Write(data)
		case "/short.tar.gz":
			w.Header().Set("Content-Length", fmt.Sprint(len(data)+1))
			w.Write(data)
		default:
			http.NotFound(w, r)
		}
	}))
	defer server.Close()
	dir, err := Source(server.URL+"/blog.tar.gz").folder(t.Context(), t.TempDir())
	if got, _ := os.ReadFile(filepath.Join(dir, "index.html")); err != nil || string(got) != "index.html" {
		t.Errorf("%q %v", got, err)
	}
	if _, err := Source(server.URL+"/none").folder(t.Context(), t.TempDir()); !fault.Is(err, fault.NotFound) {
		t.Errorf("what is not there: %v", err)
	}
	if _, err := Source(server.URL+"/short.tar.gz").folder(t.Context(), t.TempDir()); !fault.Is(err, fault.Unreachable) {
		t.Errorf("what breaks off: %v", err)
	}
}

func TestTwins(t *testing.T) {
	tree := func(names ...string) (m artefact.Manifest) {
		for _, name := range names {
			m.Entries = append(m.Entries, artefact.Entry{Path: name, Mode: 0o644})
		}
		return m
	}
	if _, err := twins(tree("caf\u00e9.html", "cafe\u0301.html")); !fault.Is(err, fault.Misused) || !strings.Contains(err.Error(), `cafe\u0301.html`) {
		t.Errorf("two forms of one name: %v", err)
	}
	pairs, err := twins(tree("README", "a.html", "readme"))
	if err != nil || len(pairs) != 1 || pairs[0] != [2]string{"README", "readme"} {
		t.Errorf("two cases of one name: %v %v", pairs, err)
	}
}

// TestBadFolders has what cannot be published leave the live release as it is.
func TestBadFolders(t *testing.T) {
	w := newWorld(t, "one")
	if _, err := w.publish(folder(t, "index.html", "first"), Spec{}); err != nil {
		t.Fatal(err)
	}
	outside := folder(t, "index.html", "second")
	if err := os.Symlink("../../etc/passwd", filepath.Join(outside, "home")); err != nil {
		t.Fatal(err)
	}
	rules := folder(t, "index.html", "second", "_redirects", "/a /b 999\n")
	cut := filepath.Join(t.TempDir(), "cut.tar.gz")
	whole := gzipped(tarOf(t, tar.Header{Name: "index.html"}))
	if err := os.WriteFile(cut, whole[:len(whole)-10], 0o600); err != nil {
		t.Fatal(err)
	}
	forms := folder(t, "caf\u00e9.html", "1", "cafe\u0301.html", "2")
	for name, c := range map[string]struct {
		source string
		says   string
	}{
		"an empty folder":         {t.TempDir(), "holds no files"},
		"nothing":                 {filepath.Join(t.TempDir(), "none"), "no such file"},
		"a link that leads out":   {outside, "home"},
		"rules that mean nothing": {rules, "_redirects"},
		"a cut archive":           {cut, "index.html"},
		"a name in two forms":     {forms, "caf"},
	} {
		if _, err := w.publish(c.source, Spec{}); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, which does not say %s", name, err, c.says)
		}
		w.head.mu.Lock()
		if len(w.head.staging) > 0 {
			t.Errorf("%s: the head still waits for it, and would refuse another", name)
		}
		w.head.mu.Unlock()
	}
	pipe := folder(t, "index.html", "second")
	if err := syscall.Mkfifo(filepath.Join(pipe, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.serve("first", "one")
	events, err := w.publish(pipe, Spec{})
	if err != nil {
		t.Fatal(err)
	}
	left := false
	for _, ev := range events {
		left = left || ev.Kind == LeftOut && ev.Path == "pipe"
	}
	if !left {
		t.Error("a pipe is left out without a word")
	}
	w.serve("second", "one")
}

// TestUnreadable reads a folder as an account that may not read all of it.
func TestUnreadable(t *testing.T) {
	if dir := os.Getenv("UNREADABLE"); dir != "" {
		_, err := (Client{}).pack(t.Context(), Source(dir), plainForms)
		fmt.Println(err)
		return
	}
	dir := folder(t, "index.html", "x", "secret.html", "x")
	if err := os.Chmod(filepath.Join(dir, "secret.html"), 0); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=TestUnreadable")
	cmd.Env = append(os.Environ(), "UNREADABLE="+dir, "TMPDIR=/tmp")
	if os.Geteuid() == 0 {
		for up := dir; up != "/"; up = filepath.Dir(up) {
			if up != "/tmp" {
				os.Chmod(up, 0o755)
			}
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "secret.html") || !strings.Contains(string(out), "denied") {
		t.Errorf("%v: %s", err, out)
	}
}

// TestFolderThatChanges has a file change between the scan and the upload.
func TestFolderThatChanges(t *testing.T) {
	dir := folder(t, "index.html", strings.Repeat("first ", 200))
	p, err := (Client{}).pack(t.Context(), Source(dir), rawForms)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	write(t, dir, "index.html", strings.Repeat("second ", 200))
	_, _, err = p.Open(p.tree.Manifest.Entries[0].Ref)
	if !fault.Is(err, fault.Conflict) || !strings.Contains(err.Error(), "index.html") {
		t.Errorf("a file that changed: %v", err)
	}
}
