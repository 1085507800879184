package artefact_test

import (
	"bytes"
	"net/http/httptest"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	. "bramble/artefact"
	"bramble/fault"
)

// smallDisk is a file system of its own of so many bytes.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting a small disk needs root")
	}
	dir := t.TempDir()
	must(t, syscall.Mount("bramble-test", dir, "tmpfs", 0, "size="+size+",mode=0700"))
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return dir
}

// A disk that fills up to its last byte fails what comes with a reason, keeps what was there whole, and goes on once there is
// room; what came of a blob is not lost.
func TestDiskFull(t *testing.T) {
	dir := smallDisk(t, "4m")
	s := openIn(t, dir, Options{})
	have, err := putNoise(t, s, 1, 1<<20)
	must(t, err)
	must(t, s.Pin("job.1", have))
	large := noise(2, 5<<20)
	from := open(t, Options{})
	ref, _, err := from.Put(t.Context(), bytes.NewReader(large), "")
	must(t, err)
	server := httptest.NewTLSServer(Handler(from, anybody, Limits{}))
	defer server.Close()
	c := &Client{HTTP: server.Client(), Base: server.URL}
	full := func(what string, err error) {
		t.Helper()
		if !fault.Is(err, fault.Full) || fault.Of(err).Try == "" {
			t.Errorf("%s on a full disk: %v", what, err)
		}
		if err := s.Verify(t.Context(), have); err != nil {
			t.Errorf("after %s, what was there: %v", what, err)
		}
		if n := files(t, dir, "tmp"); n != 0 {
			t.Errorf("after %s, %d files are left in tmp", what, n)
		}
	}
	_, _, err = s.Put(t.Context(), bytes.NewReader(large), "")
	full("a put", err)
	full("a fetch", c.Fetch(t.Context(), s, []Blob{{Ref: ref, Size: int64(len(large))}}, nil))
	part := s.Have(ref)
	if part == 0 {
		t.Error("nothing of the blob stays for the next try")
	}
	// a pin needs room, too: on a disk without a byte left it fails, and the old one stays
	fill, err := os.Create(filepath.Join(dir, "filler"))
	must(t, err)
	for err == nil {
		_, err = fill.Write(make([]byte, 4096))
	}
	must(t, fill.Close())
	full("a pin", s.Pin("job.1", ref))
	if err := s.Change(func(set *Settings) { set.Every = 7 }); !fault.Is(err, fault.Full) {
		t.Errorf("settings on a full disk: %v", err)
	}
	must(t, os.Remove(fill.Name()))
	must(t, syscall.Mount("bramble-test", dir, "tmpfs", syscall.MS_REMOUNT, "size=16m"))
	must(t, c.Fetch(t.Context(), s, []Blob{{Ref: ref, Size: int64(len(large))}}, nil))
	must(t, s.Verify(t.Context(), ref))
	must(t, s.Close())
	s = openIn(t, dir, Options{})
	if got := s.Used(); got != 6<<20 {
		t.Errorf("%d bytes are counted, of %d", got, 6<<20)
	}
	must(t, s.Pin("job.1", ref))
}
