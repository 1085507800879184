package site

// What the tests of real processes share with those of one.
var (
	Numbered = numbered
	Visitor  = visitor
	Write    = write
)
