package front

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Setup is what `bramble front serve` is told, before any name is looked up.
type Setup struct {
	Listen    []string // [ADDRESS]:PORT
	ListenTLS []string
	Cert, Key []string // files, as many of each
	HTTPSOnly bool
	Backends  []Backend
	Common    Pool // what all pools have: no host, path or members
	AccessLog string
	LogJSON   bool
	Metrics   string
	Rate      float64
	Burst     int
	Conns     int
	Trusted   []netip.Prefix
	Proxied   []netip.Prefix // who speaks the PROXY protocol
	ACME      []string       // names
}

// Untaken is a part of a configuration that one program has and the other one does not do.
type Untaken struct {
	Line    int    `json:"line,omitempty"` // from 1; 0: it is no line of a file
	Text    string `json:"text"`           // as it came, control characters too
	Why     string `json:"why"`
	Matters bool   `json:"matters"` // visitors, members or those who run them may notice
}

// String is the backend as ParseBackend reads it.
func (b Backend) String() string {
	text := "http://" + b.Server
	if b.Member.Second {
		text = "h2c://" + b.Server
	}
	if b.Member.Weight > 1 {
		text += ",weight=" + strconv.Itoa(b.Member.Weight)
	}
	if b.Member.Set > 0 {
		text += ",set=" + strconv.Itoa(b.Member.Set)
	}
	for _, item := range [][2]string{{"route", b.Member.Route}, {"host", b.Host}, {"path", trimSlash(b.Path)}} {
		if item[1] != "" {
			text += "," + item[0] + "=" + item[1]
		}
	}
	if b.Member.Name != b.Server && b.Member.Name != "" {
		text += ",name=" + b.Member.Name
	}
	if b.Member.Duty != Regular {
		text += "," + string(b.Member.Duty)
	}
	return text
}

// flags are those that an import sets, each a line for a shell.
func (s Setup) flags() (lines []string) {
	add := func(flag string, values ...string) {
		for _, v := range values {
			lines = append(lines, flag+" "+shellWord(v))
		}
	}
	add("--listen", s.Listen...)
	add("--listen-tls", s.ListenTLS...)
	for i := range s.Cert {
		lines = append(lines, "--cert "+shellWord(s.Cert[i])+" --key "+shellWord(s.Key[i]))
	}
	if s.HTTPSOnly {
		lines = append(lines, "--https-only")
	}
	for _, b := range s.Backends {
		add("--backend", b.String())
	}
	if c := s.Common; c.Balance != TwoChoices && c.Balance != "" {
		add("--balance", string(c.Balance))
	}
	for _, item := range []struct{ flag, value string }{{"--sticky", s.Common.Sticky}, {"--check", s.Common.Check.Path},
		{"--every", length(s.Common.Check.Interval)}, {"--timeout", length(s.Common.Wait)}, {"--max-body", size(s.Common.MaxBody)}} {
		if item.value != "" {
			add(item.flag, item.value)
		}
	}
	if len(s.Common.FailOn) > 0 {
		add("--fail-on", strings.Trim(strings.ReplaceAll(fmt.Sprint(s.Common.FailOn), " ", ","), "[]"))
	}
	return lines
}

// Command is the command line that says the same, for a shell, a flag a line.
func (s Setup) Command() string {
	return "bramble front serve \\\n  " + strings.Join(s.flags(), " \\\n  ") + "\n"
}

// length is a time as flags have it, empty for none.
func length(d time.Duration) string {
	if d == 0 {
		return ""
	}
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// size is an amount of bytes as flags and other programs have it, empty for none.
func size(n int64) string {
	if n == 0 {
		return ""
	}
	unit := 0
	for ; unit < 3 && n%1024 == 0; unit++ {
		n /= 1024
	}
	return strconv.FormatInt(n, 10) + [...]string{"", "k", "m", "g"}[unit]
}

// shellWord is a word that a shell reads as the text.
func shellWord(text string) string {
	for _, c := range []byte(text) {
		if !letter(c) && strings.IndexByte("-._/:=,@%+", c) < 0 {
			return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
		}
	}
	return text
}

func letter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' }
