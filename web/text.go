package web

import "unicode/utf8"

// whole is what waited of a stream and data, less what the next piece may complete.
func (o *outputText) whole(stream int, data []byte) []byte {
	if len(o.cut[stream]) > 0 {
		data = append(o.cut[stream], data...)
	}
	keep := unfinished(data)
	o.cut[stream] = append([]byte(nil), data[len(data)-keep:]...)
	return data[:len(data)-keep]
}

// unfinished is how many bytes at the end of data begin something that is not complete: a
// character, or a carriage return that a newline may follow.
func unfinished(data []byte) int {
	if n := len(data); n > 0 && data[n-1] == '\r' {
		return 1
	}
	for n := 1; n <= min(utf8.UTFMax-1, len(data)); n++ {
		if c := data[len(data)-n]; utf8.RuneStart(c) {
			if c >= utf8.RuneSelf && !utf8.FullRune(data[len(data)-n:]) {
				return n
			}
			return 0
		}
	}
	return 0
}
