// Package opticks is a real book and a way to count its words in shares: input for the
// demo, the guide and the tests.
package opticks

import (
	"bytes"
	"compress/bzip2"
	_ "embed"
	"fmt"
	"io"
	"strings"
)

//go:embed opticks.txt.bz2
var packed []byte

// Script counts the words of one share of a text; see its own head.
//
//go:embed count.sh
var Script []byte

// Text is Newton's Opticks, 567,198 bytes.
func Text() ([]byte, error) {
	text, err := io.ReadAll(bzip2.NewReader(bytes.NewReader(packed)))
	if err != nil {
		return nil, fmt.Errorf("unpack the book: %w", err)
	}
	return text, nil
}

// Count counts words as Script does: runs of ASCII letters, in lower case.
func Count(text []byte) map[string]int {
	words := map[string]int{}
	for _, w := range strings.FieldsFunc(string(text), func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	}) {
		words[strings.ToLower(w)]++
	}
	return words
}
