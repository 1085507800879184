package bustest

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// Golden holds messages against what the protocol of this number has on the wire, in
// testdata/wire-N/NAME.json: an agent of the version before must go on being understood, so a file that
// is there never changes; a new field comes with a new message or protocol number.
func Golden(t *testing.T, protocol string, messages map[string]any) {
	t.Helper()
	for name, m := range messages {
		got, err := json.MarshalIndent(m, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, '\n')
		path := filepath.Join("testdata", "wire-"+protocol, name+".json")
		want, err := os.ReadFile(path)
		if os.IsNotExist(err) && os.Getenv("BRAMBLE_GOLDEN") == "write" {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			want, err = got, os.WriteFile(path, got, 0o644)
		}
		if err != nil {
			t.Fatalf("%v (BRAMBLE_GOLDEN=write go test makes the file of a new message)", err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s changed on the wire:\n%s\nwas\n%s", name, got, want)
		}
	}
}
