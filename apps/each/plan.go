package each

import (
	"fmt"
	"strings"
)

const (
	// maxChunk and maxChunkBytes bound what one job carries.
	maxChunk, maxChunkBytes = 500, 128 << 10
	// chunkWithFiles is how many runs share a job when files travel: each of its nodes gets them all.
	chunkWithFiles = 8
)

// chunkSize is how many runs the next job may carry: few at first, so that the first output comes soon, and then twice
// as many as the job before.
func (o *Options) chunkSize(jobs, slots, outstanding int) int {
	n := maxChunk
	if jobs < 10 {
		n = min(n, max(1, slots)<<jobs)
	}
	if len(o.Transfer)+len(o.Return) > 0 {
		n = min(n, chunkWithFiles)
	}
	if o.Jobs > 0 {
		n = min(n, o.Jobs-outstanding)
	}
	return n
}

// script is what every task of a job runs: the line of its number. With stamps its node and times are told in a last
// line on standard error.
func script(runs []Run, stamps bool) []byte {
	var b strings.Builder
	b.WriteString("#!/bin/sh\ncase $BRAMBLE_TASK_ID in\n")
	for _, r := range runs {
		fmt.Fprintf(&b, "%d) c=%s;;\n", r.Seq, singleQuoted(r.Line))
	}
	b.WriteString("esac\nPARALLEL_SEQ=$BRAMBLE_TASK_ID\nexport PARALLEL_SEQ\n")
	if !stamps {
		b.WriteString("eval \"$c\"\n")
		return []byte(b.String())
	}
	b.WriteString("b=$(date +%s.%N)\n(eval \"$c\")\ns=$?\nprintf '" + stampMark + "%s %s %s\\n' \"$BRAMBLE_NODE\" \"$b\" \"$(date +%s.%N)\" >&2\nexit $s\n")
	return []byte(b.String())
}

// stampMark begins the line that tells a run's node and times.
const stampMark = "\x1ebramble "

func singleQuoted(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// exitStatus is what bramble each ends with: how many runs failed, 101 for more than 100.
func exitStatus(failed int) int { return min(failed, 101) }
