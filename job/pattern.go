package job

import (
	"fmt"
	"strconv"
	"strings"

	"bramble/fault"
)

// Writer is one process of a job as the name of the file that it writes to may mention it.
type Writer struct {
	Job   ID
	Array bool
	Index int    // of the array
	Name  string // the job's
	User  string
	Node  string
	Rank  int // over all nodes
	Place int // of the node in the allocation
}

// maxPad is the most digits that a pattern may ask for.
const maxPad = 10

// FileName fills in a pattern as Slurm has it: %j and %J the job, and for a task of an array its own number;
// %A the job, %a the task, %b the task's last digit; %N the node, %n its place; %t the rank; %u the user, %x the job's name, %% a
// percent sign. %4a pads with zeros. What is none of these stays. No name brings a / with it.
func FileName(pattern string, w Writer) string {
	var b strings.Builder
	for i := 0; i < len(pattern); i++ {
		if pattern[i] != '%' {
			b.WriteByte(pattern[i])
			continue
		}
		letter, width, end := verb(pattern, i)
		text, ok := w.value(letter, width)
		if !ok {
			text = pattern[i:end]
		}
		b.WriteString(text)
		i = end - 1
	}
	return b.String()
}

// verb reads what follows a % at i; letter is 0 when there is none.
func verb(pattern string, i int) (letter byte, width, end int) {
	end = i + 1
	for end < len(pattern) && '0' <= pattern[end] && pattern[end] <= '9' {
		end++
	}
	width, _ = strconv.Atoi(pattern[i+1 : end])
	if end < len(pattern) {
		letter = pattern[end]
		end++
	}
	return letter, min(width, maxPad), end
}

func (w Writer) value(letter byte, width int) (string, bool) {
	number := func(n int64) (string, bool) { return fmt.Sprintf("%0*d", width, n), true }
	word := func(s string) (string, bool) { return strings.ReplaceAll(s, "/", "_"), true }
	switch letter {
	case '%':
		return "%", true
	case 'j', 'J':
		if w.Array {
			return number(SlurmID(w.Job, w.Index))
		}
		return number(int64(w.Job))
	case 'A':
		return number(int64(w.Job))
	case 'a':
		return number(int64(w.Index))
	case 'b':
		return number(int64(w.Index % 10))
	case 'n':
		return number(int64(w.Place))
	case 't':
		return number(int64(w.Rank))
	case 'N':
		return word(w.Node)
	case 'u':
		return word(w.User)
	case 'x':
		return word(w.Name)
	}
	return "", false
}

// maxPattern is the longest pattern of a file's name, in bytes.
const maxPattern = 4 << 10

// CheckPattern is fault.Misused when no file can have a pattern's name.
func CheckPattern(pattern string) error {
	if pattern == "" || len(pattern) > maxPattern || hasNUL(pattern) {
		return fault.New(fault.Misused, "a file's name has 1 to %d bytes", maxPattern).Hint("slurm-%%j.out")
	}
	return nil
}
