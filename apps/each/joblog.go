package each

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"

	"bramble/fault"
)

// joblogHead is the first line of GNU parallel's --joblog.
const joblogHead = "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand"

// joblogLine is one run as GNU parallel notes it.
func joblogLine(o *Outcome) string {
	return fmt.Sprintf("%d\t%s\t%13.3f\t%10.3f\t%d\t%d\t%d\t%d\t%s", o.Seq, o.Host,
		float64(o.Started.UnixMilli())/1000, o.Took.Seconds(), 0, len(o.Stdout), o.Code, o.Signal, o.Line)
}

// readJoblog is the runs that a joblog says are not to be done again; none when there is no such file.
func readJoblog(path string, resume Resume) (map[int]bool, error) {
	done := map[int]bool{}
	f, err := os.Open(path)
	if os.IsNotExist(err) {
		return done, nil
	}
	if err != nil {
		return nil, fault.New(fault.Failed, "--joblog: %w", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		field := strings.Split(lines.Text(), "\t")
		seq, err := strconv.Atoi(field[0])
		switch {
		case n == 1 && lines.Text() == joblogHead:
		case err != nil || len(field) < 9:
			return nil, fault.New(fault.Misused, "%s, line %d is no joblog's", path, n).Hint("another file for --joblog")
		case resume == ResumeAll || field[6] == "0" && field[7] == "0":
			done[seq] = true
		default:
			delete(done, seq)
		}
	}
	return done, lines.Err()
}
