package job

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"bramble/fault"
)

const (
	// maxSpec is the largest command, script and environment together, in bytes: more travels as a file.
	maxSpec = 512 << 10
	// maxWritten is the largest spec as the journal writes it, in bytes; what JSON has to escape takes more room there.
	maxWritten = 736 << 10
	// maxName and maxToken are how long a name and a token may be, in bytes.
	maxName, maxToken = 200, 64
)

// Validate checks what a person asked for on its own and fills in what was left out.
// Its errors are fault.Misused. Whether any node can do it is for Fits to say.
func (s Spec) Validate() (Spec, error) {
	if _, err := ParseArray(s.Array); err != nil {
		return s, err
	}
	if s.CPUs == 0 {
		s.CPUs = 1
	}
	s, err := s.withRanks()
	if err != nil {
		return s, err
	}
	if err := s.checkWhen(); err != nil {
		return s, err
	}
	switch {
	case len(s.Args) == 0 && len(s.Script) == 0:
		return s, fault.New(fault.Misused, "there is nothing to run").Hint("bramble submit -- COMMAND, or bramble submit SCRIPT")
	case len(s.Args) > 0 && len(s.Args[0]) == 0 && len(s.Script) == 0:
		return s, fault.New(fault.Misused, "the command's name is empty").Hint("bramble submit -- COMMAND")
	case s.size() > maxSpec:
		return s, fault.New(fault.Misused, "command, script and environment are %s; a job carries at most %s", bytesText(int64(s.size())), bytesText(maxSpec)).
			Hint("send large data as a file: --transfer FILE")
	case len(marshal(s)) > maxWritten:
		return s, fault.New(fault.Misused, "command, script and environment are %s once written down; a job carries at most %s", bytesText(int64(len(marshal(s)))), bytesText(maxWritten)).
			Hint("send large data as a file: --transfer FILE")
	case len(s.Name) > maxName || strings.ContainsFunc(s.Name, unicode.IsControl) || !utf8.ValidString(s.Name):
		return s, fault.New(fault.Misused, "%.60q can't be a job's name: at most %d bytes of text, without control characters", s.Name, maxName).Hint("--name WORD")
	case len(s.Token) > maxToken:
		return s, fault.New(fault.Misused, "the submission's token is longer than %d bytes", maxToken)
	case slices.ContainsFunc(s.Args, hasNUL) || slices.ContainsFunc(s.Env, hasNUL):
		return s, fault.New(fault.Misused, "a command and its environment can't contain a zero byte").Hint("send binary data as a file: --transfer FILE")
	case slices.ContainsFunc(s.Env, func(v string) bool { return strings.IndexByte(v, '=') < 1 }):
		return s, fault.New(fault.Misused, "each variable of the environment needs a name, = and a value").Hint("--env NAME=VALUE")
	case slices.ContainsFunc(s.Return, badGlob):
		return s, fault.New(fault.Misused, "--return %q is no pattern inside the task's folder", s.Return[slices.IndexFunc(s.Return, badGlob)]).
			Hint("--return 'out/*.csv'")
	case s.WorkDir != "" && (!path.IsAbs(s.WorkDir) || path.Clean(s.WorkDir) != s.WorkDir || !s.IsShared(s.WorkDir)):
		return s, fault.New(fault.Misused, "%.200q is no folder that all machines have: it is below none of --shared", s.WorkDir).Hint("--shared /home")
	case s.Umask < 0 || s.Umask > NoUmask:
		return s, fault.New(fault.Misused, "%o is no umask", s.Umask).Hint("--umask 077")
	case s.Output != "" && CheckPattern(s.Output) != nil || s.Error != "" && CheckPattern(s.Error) != nil:
		return s, fault.New(fault.Misused, "the files for output have names of at most %d bytes", maxPattern).Hint("-o job-%%j.out")
	case s.CPUs < 1:
		return s, fault.New(fault.Misused, "%d cores for a task make no sense", s.CPUs).Hint("--cpus 1")
	case s.Memory < 0 || s.Timeout < 0 || s.Patience < 0 || s.Retries < 0:
		return s, fault.New(fault.Misused, "memory, time limit, patience and retries can't be negative").Hint("leave out what you don't need")
	}
	return s, nil
}

func badGlob(glob string) bool {
	_, err := path.Match(glob, "x")
	return err != nil || !fs.ValidPath(path.Clean(glob))
}

func hasNUL(text string) bool { return strings.IndexByte(text, 0) >= 0 }

func (s *Spec) size() int {
	n := len(s.Script)
	for _, list := range [][]string{s.Args, s.Env, s.Return} {
		for _, text := range list {
			n += len(text) + 1
		}
	}
	return n + len(s.Name) + len(s.Array) + len(s.On)
}

func onText(s Spec) string {
	if s.On == "" {
		return ""
	}
	return " of --on " + s.On
}

// bytesText writes a size in the largest unit that leaves it at least 1.
func bytesText(n int64) string {
	const units = "KMGT"
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n)/(1<<10), 0
	for value >= 1<<10 && unit < len(units)-1 {
		value, unit = value/(1<<10), unit+1
	}
	return strings.TrimSuffix(fmt.Sprintf("%.1f", value), ".0") + " " + units[unit:unit+1] + "iB"
}
