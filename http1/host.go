package http1

import "bytes"

// HostName appends the name in a Host as names are compared: in small letters, without a port and a dot at the end.
func HostName(name, host []byte) []byte {
	if at := bytes.LastIndexByte(host, ':'); at >= 0 && bytes.IndexByte(host[at:], ']') < 0 {
		host = host[:at]
	}
	for _, c := range bytes.TrimSuffix(host, []byte{'.'}) {
		name = append(name, lower(c))
	}
	return name
}
