package host

import (
	"os"
	"testing"
)

func TestSettle(t *testing.T) {
	mapped := func() int64 {
		status, err := os.ReadFile("/proc/self/status")
		if err != nil {
			t.Fatal(err)
		}
		return kilobytes(pairs(string(status), ":")["RssFile"])
	}
	before := mapped()
	if err := Settle(); err != nil {
		t.Fatal(err)
	}
	if after := mapped(); after > before*3/4 {
		t.Errorf("%d bytes of files are mapped, and before there were %d", after, before)
	}
}
