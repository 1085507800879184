package mpi

import (
	"strings"

	"bramble/fault"
)

// ParseAgent reads the arguments that a launcher gives to what it takes for ssh: options, a host, and a command
// whose words the far shell joins.
func ParseAgent(args []string) (host, line string, err error) {
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		word := args[0]
		args = args[1:]
		if word == "--" {
			break
		}
		if len(word) == 2 && strings.Contains(valued, word[1:]) && len(args) > 0 {
			args = args[1:]
		}
	}
	if len(args) < 2 {
		return "", "", fault.New(fault.Misused, "mpi-agent needs a node and a command").Hint("mpirun calls it by itself, inside a job: bramble mpi -n 4 PROGRAM")
	}
	host = args[0]
	if _, name, found := strings.Cut(host, "@"); found {
		host = name
	}
	return host, strings.Join(args[1:], " "), nil
}

// valued are ssh's options that a value follows.
const valued = "BbcDEeFIiJLlmOopQRSWw"
