package http1

import "bramble/http1/http1test"

var with, line, length, coding, chunked = http1test.With, http1test.Line, http1test.Length, http1test.Coding, http1test.Chunked

var rawCases = http1test.Cases
