// Command bramble turns a pile of Raspberry Pis, and any other Linux machines, into one cluster.
package main

import (
	"os"

	"bramble/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:])) }
