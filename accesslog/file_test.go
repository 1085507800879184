package accesslog

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A log is two files at most, of which the last lines are to be had.
func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log", "blog.log")
	piece := bytes.Repeat([]byte(strings.Repeat("x", 99)+"\n"), MostKept/100/16)
	for range 70 {
		if _, err := Append(path, piece); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Append(path, []byte("last\n")); err != nil {
		t.Fatal(err)
	}
	var size int64
	for _, name := range []string{path, path + ".1"} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	if size > 2*MostKept+int64(len(piece)) {
		t.Errorf("the logs have %d bytes", size)
	}
	lines, err := Last(path, 2)
	if err != nil || len(lines) != 100+5 || !bytes.HasSuffix(lines, []byte("x\nlast\n")) {
		t.Errorf("the last two lines are %q, %v", lines, err)
	}
	if all, err := Last(path, MaxLines*100); err != nil || int64(len(all)) != size {
		t.Errorf("all lines have %d of %d bytes, %v", len(all), size, err)
	}
}
