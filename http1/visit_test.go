package http1

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestVisitLines(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.FixedZone("", 3600))
	line := func(target, agent string) string {
		return string(AppendVisit(nil, netip.MustParseAddr("10.0.0.7"), []byte(at.Format(VisitTime)), []byte("GET"), []byte(target), "HTTP/1.1", 200, 512, nil, []byte(agent)))
	}
	if got, want := line("/a?b=c", `Mozilla "x"`), `10.0.0.7 - - [01/Mar/2026:12:00:00 +0100] "GET /a?b=c HTTP/1.1" 200 512 "-" "Mozilla \x22x\x22"`+"\n"; got != want {
		t.Errorf("got  %swant %s", got, want)
	}
	for _, odd := range []string{`" 200 1 "`, "a\nb", `\x41`, "\x00\xff", "-", "] \"", strings.Repeat("é", 2000)} {
		text := line("/"+strings.ReplaceAll(odd, " ", "+"), odd)
		v, err := ParseVisit(strings.TrimSuffix(text, "\n"))
		want := odd[:min(len(odd), longestField)]
		if odd == "-" {
			want = "" // nobody can tell
		}
		if err != nil || v.Agent != want || v.Status != 200 || v.Bytes != 512 || !v.Time.Equal(at) || strings.Count(text, "\n") != 1 {
			t.Errorf("%q is read as %+v, %v", text, v, err)
		}
	}
	for _, wrong := range []string{"", "x", `10.0.0.7 - - [x] "GET / HTTP/1.1" 200 1 "-" "-"`, strings.TrimSuffix(line("/", "x"), "\"\n")[:60]} {
		if _, err := ParseVisit(wrong); err == nil {
			t.Errorf("%q is read", wrong)
		}
	}
}
