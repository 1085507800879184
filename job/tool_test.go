package job

import (
	"os"
	"path/filepath"
	"testing"
)

func TestForAll(t *testing.T) {
	dir := t.TempDir()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "program")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if !forAll(path) {
		t.Error("a program that everybody may execute is told to be private")
	}
	if os.Chmod(dir, 0o700); forAll(path) {
		t.Error("a program in a private folder is told to be everybody's")
	}
	if os.Chmod(dir, 0o755); os.Chmod(path, 0o744) == nil && forAll(path) {
		t.Error("a program that only its owner may execute is told to be everybody's")
	}
}
