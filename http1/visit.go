package http1

import (
	"bytes"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"bramble/fault"
)

// Visit is one request to a site, as access logs have it.
type Visit struct {
	Time    time.Time  `json:"time"`
	Remote  netip.Addr `json:"remote"`
	Method  string     `json:"method"`
	Target  string     `json:"target"`
	Version string     `json:"version"` // HTTP/1.1
	Status  int        `json:"status"`
	Bytes   int64      `json:"bytes"` // of the answer's body
	Referer string     `json:"referer,omitempty"`
	Agent   string     `json:"agent,omitempty"`
}

const (
	// VisitTime is how an access log writes a time.
	VisitTime = "02/Jan/2006:15:04:05 -0700"
	// longestField is how many bytes of what a visitor says of itself are written down, and of a target.
	longestField = 1024
)

// AppendVisit adds a line in the form that Apache calls combined. Anything in quotes that could end them, or the line, is \xHH.
// Format: Apache HTTP Server, mod_log_config, "Combined Log Format".
func AppendVisit(b []byte, remote netip.Addr, stamp []byte, method, target []byte, version string, status int, size int64, referer, agent []byte) []byte {
	if remote.IsValid() {
		b = remote.AppendTo(b)
	} else {
		b = append(b, '-')
	}
	b = append(append(append(b, " - - ["...), stamp...), "] \""...)
	b = append(appendEscaped(append(append(b, method...), ' '), target), ' ')
	b = append(append(b, version...), "\" "...)
	b = append(strconv.AppendInt(b, int64(status), 10), ' ')
	b = append(strconv.AppendInt(b, size, 10), " \""...)
	b = append(appendQuoted(b, referer), "\" \""...)
	return append(appendQuoted(b, agent), "\"\n"...)
}

func appendQuoted(b, field []byte) []byte {
	if len(field) == 0 {
		return append(b, '-')
	}
	return appendEscaped(b, field)
}

func appendEscaped(b, text []byte) []byte {
	const hex = "0123456789abcdef"
	for _, c := range text[:min(len(text), longestField)] {
		if c < ' ' || c >= 0x7f || c == '"' || c == '\\' {
			b = append(b, '\\', 'x', hex[c>>4], hex[c&15])
			continue
		}
		b = append(b, c)
	}
	return b
}

// ParseVisit reads a line of an access log.
func ParseVisit(line string) (v Visit, err error) {
	wrong := func() (Visit, error) {
		return v, fault.New(fault.Failed, "this is no line of an access log: %.80q", line)
	}
	remote, rest, _ := strings.Cut(line, " - - [")
	stamp, rest, _ := strings.Cut(rest, "] \"")
	request, rest, _ := strings.Cut(rest, "\" ")
	numbers, rest, ok := strings.Cut(rest, " \"")
	if !ok {
		return wrong()
	}
	if remote != "-" {
		if v.Remote, err = netip.ParseAddr(remote); err != nil {
			return wrong()
		}
	}
	if v.Time, err = time.Parse(VisitTime, stamp); err != nil {
		return wrong()
	}
	words := strings.Split(request, " ")
	if n, err := fmt.Sscanf(numbers, "%d %d", &v.Status, &v.Bytes); len(words) != 3 || n != 2 || err != nil {
		return wrong()
	}
	v.Method, v.Target, v.Version = words[0], unescape(words[1]), words[2]
	referer, agent, ok := strings.Cut(strings.TrimSuffix(rest, "\""), "\" \"")
	if !ok {
		return wrong()
	}
	if referer != "-" {
		v.Referer = unescape(referer)
	}
	if agent != "-" {
		v.Agent = unescape(agent)
	}
	return v, nil
}

// unescape is the opposite of appendEscaped.
func unescape(text string) string {
	if !strings.Contains(text, `\x`) {
		return text
	}
	var out bytes.Buffer
	for {
		before, after, found := strings.Cut(text, `\x`)
		out.WriteString(before)
		if !found || len(after) < 2 {
			return out.String()
		}
		if c, err := strconv.ParseUint(after[:2], 16, 8); err == nil {
			out.WriteByte(byte(c))
		}
		text = after[2:]
	}
}
