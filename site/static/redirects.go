package static

import (
	"bufio"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"bramble/fault"
)

// redirectsFile has the rules that Netlify and Cloudflare Pages made a convention; where these two differ it is
// Netlify's: files come before rules unless a status ends with '!', without a status it is 301, a path fits with
// and without a slash at its end, and /a/* fits /a. The limits are those of Cloudflare Pages.
const redirectsFile = "_redirects"

const (
	mostFixed   = 2000    // rules without placeholders
	mostDynamic = 100     // rules with placeholders
	longestRule = 1000    // bytes
	longestFile = 1 << 20 // bytes of _redirects or _headers
)

// rule is one line of _redirects.
type rule struct {
	line   int
	from   pattern
	to     string // a path that begins with '/', or an address
	status int
	force  bool
}

// redirects are the rules, in an order that finds the first that fits.
type redirects struct {
	fixed   map[string]*rule // by path without a slash at its end
	dynamic []*rule
	forced  bool // some are
}

// parseRedirects reads the file. An error names the line.
func parseRedirects(text string) (*redirects, error) {
	all := &redirects{fixed: map[string]*rule{}}
	err := eachLine(redirectsFile, text, longestRule, func(n int, line string) error {
		line, _, _ = strings.Cut(" "+line, " #")
		words := strings.Fields(line)
		if len(words) == 0 {
			return nil
		}
		r, err := parseRule(words)
		if err != nil {
			return err
		}
		r.line = n
		return all.add(r)
	})
	return all, err
}

func (all *redirects) none() bool { return len(all.fixed)+len(all.dynamic) == 0 }

func (all *redirects) add(r *rule) error {
	all.forced = all.forced || r.force
	if !r.from.fixed() {
		if all.dynamic = append(all.dynamic, r); len(all.dynamic) > mostDynamic {
			return fmt.Errorf("there are more than %d rules with placeholders", mostDynamic)
		}
		return nil
	}
	key := trimSlash(r.from.parts[0].literal)
	if all.fixed[key] == nil {
		all.fixed[key] = r
	}
	if len(all.fixed) > mostFixed {
		return fmt.Errorf("there are more than %d rules", mostFixed)
	}
	return nil
}

// hints show what a line looks like.
var hints = map[string]string{
	redirectsFile: "a line such as: /old/* /new/:splat 301",
	headersFile:   "a path such as /img/*, and below it lines such as: X-Frame-Options: DENY",
}

// eachLine calls f with each line and its number, and names both in its error.
func eachLine(name, text string, longest int, f func(n int, line string) error) error {
	if len(text) > longestFile {
		return misused("%s has %d bytes; %d are allowed", name, len(text), longestFile)
	}
	lines := bufio.NewScanner(strings.NewReader(strings.TrimPrefix(text, "\ufeff")))
	lines.Buffer(nil, longestFile+1)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSuffix(lines.Text(), "\r")
		err := errors.New("this is not UTF-8, or has a control character")
		switch {
		case len(line) > longest:
			err = fmt.Errorf("a line has at most %d bytes", longest)
		case validText(line) && !hasControl(line):
			err = f(n, line)
		}
		if err != nil {
			return fault.New(fault.Misused, "%s, line %d: %w", name, n, err).Hint("%s", hints[name])
		}
	}
	return nil
}

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}

func parseRule(words []string) (*rule, error) {
	r := &rule{status: 301}
	for _, w := range words[1:] {
		if key, _, ok := strings.Cut(w, "="); ok && !strings.ContainsAny(key, "/?:#") {
			return nil, fmt.Errorf("%s: conditions and parameters (%s=) are not supported", w, key)
		}
	}
	if len(words) < 2 || len(words) > 3 {
		return nil, errors.New("a rule is: FROM TO [STATUS]")
	}
	var err error
	if r.from, err = parsePattern(words[0]); err != nil {
		return nil, err
	}
	if n := len(r.from.parts); r.from.has(splat) && r.from.parts[n-1].name != splat {
		return nil, errors.New("nothing may follow a * here")
	}
	if len(words) == 3 {
		if err := r.setStatus(words[2]); err != nil {
			return nil, err
		}
	}
	r.to = escapeOdd(words[1])
	return r, r.checkTarget()
}

var statuses = []int{200, 301, 302, 303, 307, 308, 404}

func (r *rule) setStatus(word string) error {
	digits, force := strings.CutSuffix(word, "!")
	status, err := strconv.Atoi(digits)
	if err != nil || !slices.Contains(statuses, status) {
		return fmt.Errorf("%s is not a status that is supported: 200, 301, 302, 303, 307, 308, 404, with or without !", word)
	}
	r.status, r.force = status, force
	return nil
}

// rewrites reports whether the rule answers with another file rather than sends visitors there.
func (r *rule) rewrites() bool { return r.status == 200 || r.status == 404 }

func (r *rule) checkTarget() error {
	neither := fmt.Errorf("%s is neither a path nor an address with https://", r.to)
	isPath := strings.HasPrefix(r.to, "/") && !strings.HasPrefix(r.to, "//")
	if strings.Contains(r.to, `\`) || !isPath && !strings.HasPrefix(r.to, "https://") && !strings.HasPrefix(r.to, "http://") {
		return neither
	}
	if err := r.checkNames(); err != nil {
		return err
	}
	if isPath {
		path, _, _ := strings.Cut(r.to, "#")
		path, _, _ = strings.Cut(path, "?")
		if r.rewrites() && path != r.to {
			return fmt.Errorf("%s: a file has neither ? nor #", r.to)
		}
		if _, ok := decode(path); !ok {
			return fmt.Errorf("%s has a character or an escape that paths do not have", r.to)
		}
		if !r.rewrites() && trimSlash(path) == trimSlash(r.from.text) {
			return fmt.Errorf("%s leads to itself", r.to)
		}
		return nil
	}
	u, err := url.Parse(r.to)
	if err != nil || u.Host == "" || u.User != nil {
		return neither
	}
	if r.rewrites() {
		return fmt.Errorf("%s: answering with another site's pages (%d to an address) is not supported", r.to, r.status)
	}
	return nil
}

// checkNames refuses placeholders that the rule's path does not have, and those in a host.
func (r *rule) checkNames() error {
	host := 0
	if _, after, ok := strings.Cut(r.to, "://"); ok {
		host = len(r.to) - len(after)
		if slash := strings.IndexByte(after, '/'); slash >= 0 {
			host += slash
		} else {
			host = len(r.to)
		}
	}
	for i := range len(r.to) {
		if r.to[i] != ':' || i+1 >= len(r.to) || !isLetter(r.to[i+1]) {
			continue
		}
		name := nameAt(r.to[i+1:])
		if i < host {
			return fmt.Errorf(":%s: no placeholder may be part of a host", name)
		}
		if !r.from.has(name) {
			return fmt.Errorf(":%s does not come in %s", name, r.from.text)
		}
	}
	return nil
}

// find is the first rule that fits a decoded path, and what its placeholders stand for.
func (all *redirects) find(path string, forcedOnly bool) (*rule, []capture) {
	first := all.fixed[trimSlash(path)]
	if first != nil && forcedOnly && !first.force {
		first = nil
	}
	for _, r := range all.dynamic {
		if first != nil && first.line < r.line {
			break
		}
		if forcedOnly && !r.force {
			continue
		}
		found, ok := r.from.match(path)
		if !ok && !r.from.has(splat) {
			found, ok = r.from.match(otherSlash(path))
		}
		if ok {
			return r, found
		}
	}
	return first, nil
}

// target is where the rule leads: an escaped path or an address. The query goes along unless there is one already.
func (r *rule) target(found []capture, query string) string {
	to := fill(r.to, found, escape)
	if to[0] == '/' {
		to = "/" + strings.TrimLeft(to, "/") // two slashes would lead to another host
	}
	if query == "" || strings.Contains(r.to, "?") {
		return to
	}
	before, fragment, has := strings.Cut(to, "#")
	if to = before + "?" + query; has {
		to += "#" + fragment
	}
	return to
}

func trimSlash(path string) string {
	if trimmed := strings.TrimRight(path, "/"); trimmed != "" {
		return trimmed
	}
	return "/"
}

// otherSlash is path with a slash at its end, or without.
func otherSlash(path string) string {
	if strings.HasSuffix(path, "/") {
		return trimSlash(path)
	}
	return path + "/"
}
