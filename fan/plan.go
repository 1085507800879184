package fan

import (
	"encoding/binary"
	"encoding/json"
	"slices"
	"strings"

	"bramble/fault"
	"bramble/term"
	"bramble/trust"
)

// check refuses a request that cannot be run, before any node hears of it.
func check(args, env []string, as string, role trust.Role) error {
	if len(args) == 0 || args[0] == "" {
		return fault.New(fault.Misused, "no command to run").Hint("bramble run --on all -- uptime")
	}
	if err := checkWords(args, env); err != nil {
		return err
	}
	return checkAs(as, role)
}

// checkWords refuses what no program can be handed.
func checkWords(args, env []string) error {
	size := 0
	for _, a := range append(args[:len(args):len(args)], env...) {
		size += len(a) + 1
		if strings.ContainsRune(a, 0) {
			return fault.New(fault.Misused, "an argument holds a NUL byte")
		}
	}
	if size > MaxArgs {
		return fault.New(fault.Full, "a command has at most %s, and this one %s more", term.Bytes(MaxArgs), term.Bytes(int64(size-MaxArgs))).
			Hint("put the data into a file: bramble push FILE --on SEL --to PATH, or use --stdin")
	}
	return nil
}

func checkAs(as string, role trust.Role) error {
	switch {
	case as == "":
		return nil
	case as != "root":
		return fault.New(fault.Misused, "--as takes only root; without it work runs as your own account").Hint("--as root")
	case role != trust.Admin:
		return fault.New(fault.Denied, "only an admin may run as root").Hint("leave --as out, or use an admin's client file")
	}
	return nil
}

// environment puts lists of NAME=VALUE together; a later one takes the place of an earlier.
func environment(lists ...[]string) []string {
	var all []string
	at := map[string]int{}
	for _, text := range slices.Concat(lists...) {
		name, _, ok := strings.Cut(text, "=")
		if i, set := at[name]; set {
			all[i] = text
		} else if ok && name != "" {
			at[name] = len(all)
			all = append(all, text)
		}
	}
	return all
}

// words decides what is executed: a single plain word is tried as a program first, for sh costs as much again.
func words(args []string) (direct, shell []string) {
	if len(args) > 1 {
		return args, nil
	}
	shell = []string{"/bin/sh", "-c", args[0]}
	if plain(args[0]) {
		return args, shell
	}
	return nil, shell
}

func plain(word string) bool {
	for _, r := range word {
		if !strings.ContainsRune("/._-+", r) && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') {
			return false
		}
	}
	return word != ""
}

// A frame to the client is a kind byte, the node's place in the list of names as big-endian
// uint16, and the rest: output bytes, or JSON of an End. The list itself comes first, as JSON.
const frameHead = 3

// packNames is the list of names in pieces that each fit into a frame.
func packNames(names []string) ([][]byte, error) {
	const perFrame = 512
	var pieces [][]byte
	for piece := range slices.Chunk(names, perFrame) {
		data, err := json.Marshal(piece)
		if err != nil {
			return nil, err
		}
		pieces = append(pieces, data)
	}
	return pieces, nil
}

// pack appends a frame to a message.
func pack(message []byte, kind Kind, node int, data []byte) []byte {
	message = binary.BigEndian.AppendUint16(append(message, byte(kind)), uint16(node))
	return append(message, data...)
}

// unpack reads a frame; names are those told so far.
func unpack(frame []byte, names []string) (Event, error) {
	if len(frame) < frameHead {
		return Event{}, fault.New(fault.Failed, "unreadable report of a run")
	}
	ev := Event{Kind: Kind(frame[0])}
	data := frame[frameHead:]
	if ev.Kind == Nodes {
		err := json.Unmarshal(data, &ev.Names)
		return ev, err
	}
	node := int(binary.BigEndian.Uint16(frame[1:]))
	if node >= len(names) {
		return Event{}, fault.New(fault.Failed, "a report names node %d of %d", node, len(names))
	}
	ev.Node = names[node]
	switch ev.Kind {
	case Stdout, Stderr:
		ev.Data = data
		return ev, nil
	case Ended:
		if json.Unmarshal(data, &ev.End) != nil { // of this node only
			ev.End = End{Error: "its report cannot be read", Try: "bramble nodes", Lost: true}
		}
		return ev, nil
	}
	return Event{}, fault.New(fault.Failed, "a report of unknown kind %q", frame[0])
}
