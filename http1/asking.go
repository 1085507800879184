package http1

import (
	"net/http"
	"strconv"
	"strings"
)

// Why a request is not sent, besides what the parser refuses.
var (
	badAsking     = &Refusal{400, "the request is another one once it is written"}
	oddCoding     = &Refusal{501, "the request has a transfer coding besides chunked"}
	badOutTrailer = &Refusal{400, "a trailer's name or value has a character that they do not have, or frames the message"}
)

// bodyOf says how a request's body is framed: RFC 9112, 6.
func bodyOf(req *http.Request) BodyEnd {
	switch {
	case req.Body == nil || req.Body == http.NoBody:
		return NoBody
	case req.ContentLength > 0 && len(req.TransferEncoding) == 0:
		return ByLength
	}
	return ByChunks
}

// appendAsking appends a request's head. What it says is checked by the parser, which must find in it what was meant. Fields
// that frame the message or steer the connection are those that the request needs, not those of req.Header.
func appendAsking(out []byte, req *http.Request, body BodyEnd) ([]byte, error) {
	if len(req.TransferEncoding) > 1 || len(req.TransferEncoding) == 1 && req.TransferEncoding[0] != "chunked" {
		return out, oddCoding
	}
	method, target, host := req.Method, req.URL.RequestURI(), req.Host
	if method == "" {
		method = "GET"
	}
	if host == "" {
		host = req.URL.Host
	}
	out = append(append(append(append(out, method...), ' '), target...), " HTTP/1.1\r\n"...)
	out = appendField(out, "Host", host)
	out, own := appendFraming(out, req, body)
	out, others, err := appendFields(out, req.Header)
	if err != nil {
		return out, err
	}
	out = append(out, "\r\n"...)
	return out, meant(out, method, target, host, 1+own+others, body)
}

func appendField(out []byte, name, value string) []byte {
	return append(append(append(append(out, name...), ": "...), value...), "\r\n"...)
}

// appendFraming appends the fields that are the sender's to decide, and counts them.
func appendFraming(out []byte, req *http.Request, body BodyEnd) ([]byte, int) {
	fields := 0
	add := func(name, value string) { out, fields = appendField(out, name, value), fields+1 }
	switch {
	case body == ByLength:
		out, fields = strconv.AppendInt(append(out, "Content-Length: "...), req.ContentLength, 10), fields+1
		out = append(out, "\r\n"...)
	case body == ByChunks:
		add("Transfer-Encoding", "chunked")
		if len(req.Trailer) > 0 {
			add("Trailer", trailerNames(req.Trailer))
		}
	case req.Method == "POST" || req.Method == "PUT" || req.Method == "PATCH": // RFC 9110, 8.6
		add("Content-Length", "0")
	}
	if expects(req) {
		add("Expect", "100-continue")
	}
	switch protocol := upgradeOf(req); {
	case protocol != "":
		add("Connection", "Upgrade")
		add("Upgrade", protocol)
	case req.Close:
		add("Connection", "close")
	}
	return out, fields
}

// appendFields appends the fields that are the caller's to choose, and counts them.
func appendFields(out []byte, h http.Header) ([]byte, int, error) {
	fields := 0
	for name, values := range h {
		if ours(name) || len(values) == 1 && values[0] == "" && name == "User-Agent" { // net/http's way to have none
			continue
		}
		if !isAll(name, inToken) || name == "" {
			return out, 0, badName
		}
		for _, value := range values {
			if !isAll(value, inValue) {
				return out, 0, badValue
			}
			out, fields = appendField(out, name, value), fields+1
		}
	}
	return out, fields, nil
}

// ours reports whether a field is for the sender to decide, because it frames the message or is about the connection.
func ours(name string) bool {
	for _, n := range [...]string{"Connection", "Content-Length", "Expect", "Host", "Keep-Alive", "Proxy-Connection",
		"Trailer", "Transfer-Encoding", "Upgrade"} {
		if len(name) == len(n) && strings.EqualFold(name, n) {
			return true
		}
	}
	return false
}

// meant has the parser read a head, so that what goes out is one request, and the one that was meant.
func meant(head []byte, method, target, host string, fields int, body BodyEnd) error {
	var r Request
	r.Fields = make([]Field, 0, fields)
	n, err := r.Parse(head, Limits{Target: len(target) + 1, Line: len(head), Fields: fields + 1, Head: len(head)})
	switch {
	case err != nil:
		return err
	case n != len(head), len(r.Fields) != fields, string(r.Method) != method, string(r.Target) != target, string(r.Host()) != host, r.Body() != body:
		return badAsking
	}
	return nil
}

// isAll is all for strings.
func isAll(text string, c class) bool {
	for i := range len(text) {
		if !is(text[i], c) {
			return false
		}
	}
	return true
}

// expects reports whether a request's body waits for the origin's consent: RFC 9110, 10.1.1. Other expectations are not passed on.
func expects(req *http.Request) bool {
	return bodyOf(req) != NoBody && hasToken(req.Header["Expect"], "100-continue")
}

// upgradeOf is the protocol that a request without a body wants to change to: RFC 9110, 7.8. With a body that is not passed on.
func upgradeOf(req *http.Request) string {
	if bodyOf(req) != NoBody || !hasToken(req.Header["Connection"], "upgrade") {
		return ""
	}
	return req.Header.Get("Upgrade")
}

// hasToken reports whether a list in several fields has a token.
func hasToken(values []string, token string) bool {
	for _, v := range values {
		for one := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.Trim(one, " \t"), token) {
				return true
			}
		}
	}
	return false
}

func trailerNames(h http.Header) string {
	names := make([]string, 0, len(h))
	for name := range h {
		names = append(names, name)
	}
	return strings.Join(names, ", ")
}

// appendTrailers appends the trailer section: RFC 9112, 7.1.2.
func appendTrailers(out []byte, h http.Header) ([]byte, error) {
	out, _, err := appendFields(out, h)
	for name := range h {
		if forbidden([]byte(name)) || ours(name) {
			err = badOutTrailer
		}
	}
	return append(out, "\r\n"...), err
}
