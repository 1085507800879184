package cli

import (
	"reflect"
	"testing"
	"time"

	"bramble/job"
)

func TestParseBegin(t *testing.T) {
	now := time.Date(2026, 11, 26, 18, 0, 0, 0, time.UTC)
	for text, want := range map[string]string{
		"18:30": "2026-11-26 18:30:00", "17:59": "2026-11-27 17:59:00", "+90m": "2026-11-26 19:30:00", "now+1h": "2026-11-26 19:00:00",
		"2026-12-24T18:30": "2026-12-24 18:30:00", "2026-12-24": "2026-12-24 00:00:00", "soon": "", "25:00": "", "+lots": "",
	} {
		at, err := parseBegin(text, now)
		if got := at.Format(time.DateTime); (err != nil) != (want == "") || err == nil && got != want {
			t.Errorf("%s: got %s and %v, want %s", text, got, err, want)
		}
	}
}

func TestParseDependency(t *testing.T) {
	got, err := parseDependency("afterok:3:4")
	if want := []job.Dependency{{Kind: job.AfterOK, Job: 3}, {Kind: job.AfterOK, Job: 4}}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v and %v", got, err)
	}
	for _, bad := range []string{"", "afterok", "afterok:", "afterok:x", "afterok:-1", "singleton:3"} {
		if got, err := parseDependency(bad); err == nil {
			t.Errorf("%q is read as %v", bad, got)
		}
	}
}

func TestParseGres(t *testing.T) {
	if got, err := parseGres("camera,gpu:2"); err != nil || !reflect.DeepEqual(got, map[string]int{"camera": 1, "gpu": 2}) {
		t.Errorf("got %v and %v", got, err)
	}
	for _, bad := range []string{":1", "gpu:0", "gpu:x", "a,,b"} {
		if _, err := parseGres(bad); err == nil {
			t.Errorf("%q is read", bad)
		}
	}
}
