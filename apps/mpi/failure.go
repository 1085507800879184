package mpi

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// What the libraries' launchers say when a rank has died.
var (
	openSignal = lazily(`process rank (\d+) with PID \d+ on node (\S+) exited on signal (\d+)`)
	openRank   = lazily(`Process name: \[\[\d+,\d+\],(\d+)\]`)
	openCode   = lazily(`Exit code:\s+(\d+)`)
	openAbort  = lazily(`MPI_ABORT was invoked on rank (\d+)`)
	openErrno  = lazily(`with errorcode (-?\d+)`)
	mpichNode  = lazily(`=\s+PID \d+ RUNNING AT (\S+)`)
	mpichCode  = lazily(`=\s+EXIT CODE: (\d+)`)
	mpichText  = lazily(`APPLICATION TERMINATED WITH THE EXIT STRING: .*\(signal (\d+)\)`)
	agentSaid  = lazily(`(?m)^bramble: (.+)$`) // when it could not start a process on a node
	agentLost  = lazily(`(?m)^bramble: (the connection to the step on (\S+) was lost.*)$`)
	mpichAbort = lazily(`application called MPI_Abort\(.*, (-?\d+)\) - process (\d+)`)
)

// lazily compiles a pattern when it is first used: mpirun starts us once for each node, and that one reads nothing.
func lazily(text string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(text) })
}

// keptLines is how many of a rank's last lines are remembered.
const keptLines = 5

// record is what a launch has said so far: the launcher's own words, and each rank's last ones.
type record struct {
	places []string // the node of each rank
	said   strings.Builder
	last   map[int][]string
	dead   bool // a rank has ended with a status, the first of them this one
	first  int
	status int
}

// deathMark begins the line by which a rank's shell tells its status.
const deathMark = "bramble: this rank has ended with status"

// maxSaid is how much of the launcher's own words is kept, in bytes.
const maxSaid = 64 << 10

// line takes in a line and reports whether people are to see it.
func (r *record) line(rank int, text string) bool {
	if rank < 0 {
		if r.said.Len() < maxSaid {
			r.said.WriteString(text + "\n")
		}
		return true
	}
	if code, ok := strings.CutPrefix(text, deathMark+" "); ok {
		if !r.dead {
			r.dead, r.first = true, rank
			r.status, _ = strconv.Atoi(code)
		}
		return false
	}
	if strings.TrimSpace(text) == "" {
		return true
	}
	if r.last == nil {
		r.last = map[int][]string{}
	}
	r.last[rank] = append(r.last[rank], text)
	if n := len(r.last[rank]); n > keptLines {
		r.last[rank] = slices.Delete(r.last[rank], 0, n-keptLines)
	}
	return true
}

// failure is who died, where, how, and what it said last; "" when that can't be told.
func (r *record) failure() string {
	said := r.said.String()
	rank, node, how := -1, "", ""
	first := func(p *regexp.Regexp) string {
		if m := p.FindStringSubmatch(said); m != nil {
			return m[1]
		}
		return ""
	}
	if m := agentLost().FindStringSubmatch(said); m != nil { // what the launcher says then is of ranks that it has ended for it
		text := m[1]
		if lines := r.lastOf(-1, m[2]); lines != "" {
			text += "; it said last: " + lines
		}
		return text
	}
	switch {
	case openSignal().MatchString(said):
		m := openSignal().FindStringSubmatch(said)
		rank, _ = strconv.Atoi(m[1])
		node, how = m[2], "was ended by signal "+m[3]
	case mpichAbort().MatchString(r.everything()):
		said = r.everything()
		m := mpichAbort().FindStringSubmatch(said)
		rank, _ = strconv.Atoi(m[2])
		how = "called MPI_Abort with " + m[1]
	case openAbort().MatchString(said):
		rank, _ = strconv.Atoi(first(openAbort()))
		how = "called MPI_Abort with " + first(openErrno())
	case r.dead:
		rank, how = r.first, fmt.Sprintf("ended with status %d", r.status)
		if r.status > 128 {
			how = fmt.Sprintf("was ended by signal %d", r.status-128)
		}
	case openRank().MatchString(said):
		rank, _ = strconv.Atoi(first(openRank()))
		how = "ended with status " + first(openCode())
	case mpichNode().MatchString(said):
		node, how = first(mpichNode()), "ended with status "+first(mpichCode())
		if s := first(mpichText()); s != "" {
			how = "was ended by signal " + s
		}
		rank = r.onlyRank(node)
	case agentSaid().MatchString(said):
		return first(agentSaid())
	default:
		return ""
	}
	if rank >= 0 && rank < len(r.places) {
		node = r.places[rank]
	}
	who := "a rank"
	if rank >= 0 {
		who = fmt.Sprintf("rank %d", rank)
	}
	text := fmt.Sprintf("%s on %s %s", who, node, how)
	if lines := r.lastOf(rank, node); lines != "" {
		text += "; it said last: " + lines
	}
	return text
}

// everything is what the launcher and the ranks have said: MPICH's word of an abort comes from the rank.
func (r *record) everything() string {
	all := r.said.String()
	for rank := range r.places {
		all += strings.Join(r.last[rank], "\n") + "\n"
	}
	return all
}

// onlyRank is a node's rank when it has one only, or when one only has said anything; else -1.
func (r *record) onlyRank(node string) int {
	rank, count := -1, 0
	for i, place := range r.places {
		if place == node {
			rank, count = i, count+1
		}
	}
	if count == 1 {
		return rank
	}
	return -1
}

// lastOf is a rank's last lines, or those of all ranks of a node.
func (r *record) lastOf(rank int, node string) string {
	if rank >= 0 {
		return strings.Join(r.last[rank], " | ")
	}
	var all []string
	for i, place := range r.places {
		if lines := r.last[i]; place == node && len(lines) > 0 {
			all = append(all, fmt.Sprintf("[%d] %s", i, lines[len(lines)-1]))
		}
	}
	return strings.Join(all, " | ")
}

// Tags by which the launchers tell whose a line is.
var (
	openTag  = lazily(`^\[\d+,(\d+)\]<std(?:out|err|diag)>:\s?`)
	mpichTag = lazily(`^\[(\d+)\] `)
)

// untag takes the launcher's tag off a line; rank is -1 for a line of the launcher's own.
func untag(lib Library, line string) (rank int, rest string) {
	tag := openTag
	if lib == MPICH {
		tag = mpichTag
	}
	m := tag().FindStringSubmatch(line)
	if m == nil {
		return -1, line
	}
	rank, _ = strconv.Atoi(m[1])
	return rank, line[len(m[0]):]
}
