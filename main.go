// Command bramble turns a pile of Raspberry Pis, and any other Linux machines, into one cluster.
package main

import (
	"os"
	"runtime"

	"bramble/cli"
)

func main() {
	runtime.MemProfileRate = 0 // nobody reads that profile, whose buckets take a megabyte in every process
	os.Exit(cli.Main(os.Args[1:]))
}
