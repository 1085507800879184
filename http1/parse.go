package http1

import "bytes"

// Why heads are refused.
var (
	badMethod      = &Refusal{400, "the method has a character that methods do not have"}
	unknownMethod  = &Refusal{501, "the method is not one that is known here"}
	badTarget      = &Refusal{400, "the target is not a path with valid characters and escapes"}
	longTarget     = &Refusal{414, "the target is too long"}
	badRequestLine = &Refusal{400, "the request line is not METHOD SP TARGET SP VERSION CR LF"}
	badStatusLine  = &Refusal{502, "the status line is not VERSION SP STATUS SP REASON CR LF"}
	otherVersion   = &Refusal{505, "the version is neither HTTP/1.1 nor HTTP/1.0"}
	badName        = &Refusal{400, "a field name is empty, or has a character that names do not have"}
	badValue       = &Refusal{400, "a field value has a control character, or its line does not end with CR LF"}
	folded         = &Refusal{400, "a field begins with white space"}
	badEnd         = &Refusal{400, "the head does not end with CR LF"}
	longLine       = &Refusal{431, "a field is too long"}
	manyFields     = &Refusal{431, "there are too many fields"}
	longHead       = &Refusal{431, "the head is too long"}
)

const (
	longestMethod = 32             // bytes; registered ones have at most 17
	version       = "HTTP/1.1\r\n" // the length of what ends a request line
)

// Parse reads a request's head from the beginning of b and returns its length in bytes; 0 with a nil error is
// that more bytes are needed. The error is a *Refusal. Nothing is allocated once r.Fields has grown.
// RFC 9112, 2 to 6. The empty line that may come before a request is the caller's to skip.
func (r *Request) Parse(b []byte, l Limits) (int, error) {
	l = l.filled()
	return r.parse(b, &l)
}

func (r *Request) parse(b []byte, l *Limits) (int, error) {
	*r = Request{Head: r.emptied()}
	n, err := r.line(b, l)
	if n > 0 && err == nil {
		n, err = r.fields(b, n, l)
	}
	if err = bounded(n, len(b), l, err); err != nil || n == 0 {
		return 0, err
	}
	if err := r.framed(); err != nil {
		return 0, err
	}
	if r.host == nil && r.Minor == 1 {
		return 0, noHost
	}
	return n, nil
}

// bounded refuses a head, whole (n bytes) or not, that is longer than it may be.
func bounded(n, had int, l *Limits, err error) error {
	if err == nil && (n > l.Head || n == 0 && had >= l.Head) {
		return longHead
	}
	return err
}

// line reads the request line: RFC 9112, 3.
func (r *Request) line(b []byte, l *Limits) (int, error) {
	end, err := method(b)
	if end == 0 || err != nil {
		return 0, err
	}
	r.Method = b[:end]
	begin := end + 1
	if end, err = r.target(b, begin, l); end == 0 || err != nil {
		return 0, err
	}
	switch rest := b[end+1:]; {
	case len(rest) < len(version):
		if bytes.IndexByte(rest, '\n') >= 0 {
			return 0, badRequestLine
		}
		return 0, nil
	default:
		r.Minor, err = minor(rest)
		return end + 1 + len(version), err
	}
}

// method returns where the method ends.
func method(b []byte) (int, error) {
	known := true
	for i, c := range b {
		switch {
		case c == ' ' && i > 0:
			if name := string(b[:i]); !known || name == "CONNECT" || name == "TRACE" { // a tunnel; an echo of secrets
				return 0, unknownMethod
			}
			return i, nil
		case !is(c, inToken):
			return 0, badMethod
		case i >= longestMethod:
			return 0, unknownMethod
		}
		known = known && is(c, inMethod)
	}
	return 0, nil
}

// target reads an origin-form target, or * with OPTIONS, and returns where it ends: RFC 9112, 3.2.
func (r *Request) target(b []byte, begin int, l *Limits) (int, error) {
	mark, allowed := -1, inPath
	for i := begin; i < len(b); i++ {
		switch c := b[i]; {
		case i-begin >= l.Target && c != ' ':
			return 0, longTarget
		case i == begin && c == '*' && string(r.Method) == "OPTIONS":
			allowed = 0 // nothing follows
		case i == begin && c != '/':
			return 0, badTarget
		case is(c, allowed):
		case c == '?' && allowed == inPath:
			mark, allowed = i, inQuery
		case c == '%' && allowed != 0:
			if !escaped(b[i+1:], allowed == inPath) {
				return 0, badTarget
			}
		case c == ' ':
			r.Target, r.Path = b[begin:i], b[begin:i]
			if mark >= 0 {
				r.Path, r.Query = b[begin:mark], b[mark+1:i]
			}
			return i, nil
		default:
			return 0, badTarget
		}
	}
	return 0, nil
}

// escaped reports whether two hexadecimal digits follow a '%', as far as there is something. A path
// escapes no control characters, which only serve to fool what decodes it.
func escaped(rest []byte, inPath bool) bool {
	rest = rest[:min(2, len(rest))]
	if !all(rest, inHex) {
		return false
	}
	return len(rest) < 2 || !inPath || rest[0] > '1' && (rest[0] != '7' || lower(rest[1]) != 'f')
}

// minor reads what ends a request line: the version, of which both digits are one digit (RFC 9112, 2.3), and CR LF.
func minor(b []byte) (int, error) {
	switch string(b[:len(version)]) {
	case "HTTP/1.1\r\n":
		return 1, nil
	case "HTTP/1.0\r\n":
		return 0, nil
	}
	if string(b[:5]) == "HTTP/" && is(b[5], inDigit) && b[6] == '.' && is(b[7], inDigit) && b[8] == '\r' && b[9] == '\n' {
		return 0, otherVersion
	}
	return 0, badRequestLine
}

// skipEmpty is the length of the one empty line that may come before a request line (RFC 9112, 2.2).
func skipEmpty(b []byte) int {
	if len(b) >= 2 && b[0] == '\r' && b[1] == '\n' {
		return 2
	}
	return 0
}

// Parse reads a response's head as Request.Parse does a request's: RFC 9112, 4. Refusals have the
// status 502, for they are what a gateway says.
func (r *Response) Parse(b []byte, l Limits) (int, error) {
	l = l.filled()
	*r = Response{Head: r.emptied()}
	n, err := r.line(b, &l)
	if n > 0 && err == nil {
		n, err = r.fields(b, n, &l)
	}
	if err = bounded(n, len(b), &l, err); err == nil && n > 0 {
		err = r.framed()
	}
	if err != nil {
		return 0, &Refusal{502, err.Error()}
	}
	return n, nil
}

func (r *Response) line(b []byte, l *Limits) (int, error) {
	const fixed = len("HTTP/1.1 200 ")
	if len(b) < fixed {
		if bytes.IndexByte(b, '\n') >= 0 {
			return 0, badStatusLine
		}
		return 0, nil
	}
	switch string(b[:9]) {
	case "HTTP/1.1 ":
		r.Minor = 1
	case "HTTP/1.0 ":
	default:
		return 0, badStatusLine
	}
	if !all(b[9:12], inDigit) || b[9] < '1' || b[9] > '5' || b[12] != ' ' {
		return 0, badStatusLine
	}
	r.Status = int(b[9]-'0')*100 + int(b[10]-'0')*10 + int(b[11]-'0')
	end, err := value(b, fixed, fixed+l.Line)
	if end == 0 || err != nil {
		return 0, err
	}
	r.Reason = b[fixed:end]
	return end + 2, nil
}

// BodyEnd is how a message's body ends.
type BodyEnd int

const (
	NoBody    BodyEnd = iota
	ByLength          // after Length bytes
	ByChunks          // with the last chunk
	WithClose         // with the connection
)

// Body says how the response's body ends when it answers a request of that method: RFC 9112, 6.3.
func (r *Response) Body(method string) BodyEnd {
	switch {
	case method == "HEAD" || r.Status < 200 || r.Status == 204 || r.Status == 304:
		return NoBody
	case r.Chunked:
		return ByChunks
	case r.Length > 0:
		return ByLength
	case r.Length == 0:
		return NoBody
	}
	return WithClose
}

// Body says how the request's body ends: RFC 9112, 6.3.
func (r *Request) Body() BodyEnd {
	switch {
	case r.Chunked:
		return ByChunks
	case r.Length > 0:
		return ByLength
	}
	return NoBody
}
