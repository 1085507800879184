package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"bramble/apps/slurm"
	"bramble/fault"
	"bramble/job"
	"bramble/term"
)

// script reads a script file, which is what the words mean without --.
func (c *submitCmd) script(spec *job.Spec) error {
	if len(c.Args) == 0 {
		return fault.New(fault.Misused, "there is nothing to run").Hint("bramble submit -- COMMAND, or bramble submit SCRIPT")
	}
	path := c.Args[0]
	info, err := os.Stat(path)
	switch {
	case err != nil && strings.HasPrefix(path, "-"):
		return noFlag("submit", path)
	case err != nil:
		return fault.New(fault.NotFound, "no script is called %s here", path).Hint("bramble submit -- %s, if it is a command", strings.Join(c.Args, " "))
	case info.IsDir():
		return fault.New(fault.Misused, "%s is a folder, not a script", path).Hint("bramble submit --transfer %s -- COMMAND", path)
	case info.Size() > maxScript:
		return fault.New(fault.Misused, "%s is %s, too large for a script", path, term.Bytes(info.Size())).Hint("bramble submit --transfer %s -- ./%s", path, filepath.Base(path))
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return fault.New(fault.Failed, "read the script: %w", err)
	}
	if err := checkScript(path, text); err != nil {
		return err
	}
	if slurm.Has(text) {
		if err := c.batch(spec, path, text); err != nil {
			return err
		}
	}
	spec.Script, spec.Args = text, c.Args[1:]
	if spec.Name == "" {
		spec.Name = filepath.Base(path)
	}
	return nil
}

// checkScript refuses what no kernel would run, while its name still tells people something.
func checkScript(path string, text []byte) error {
	first, _, _ := bytes.Cut(text, []byte("\n"))
	interpreter, marked := bytes.CutPrefix(first, []byte("#!"))
	switch {
	case len(text) == 0:
		return fault.New(fault.Misused, "%s is empty", path).Hint("#!/bin/sh as its first line, and below it what is to be done")
	case bytes.HasPrefix(text, []byte("\x7fELF")):
		return fault.New(fault.Misused, "%s is a program, not a script", path).Hint("bramble submit -- ./%s", strings.TrimPrefix(path, "./"))
	case bytes.HasPrefix(text, []byte("\xef\xbb\xbf#!")):
		return fault.New(fault.Misused, "%s begins with a byte order mark, which hides its #!", path).Hint("sed -i '1s/^\\xef\\xbb\\xbf//' %s", path)
	case !marked:
		return fault.New(fault.Misused, "%s does not begin with #!, so it is unknown what runs it", path).Hint("#!/bin/sh as its first line")
	case bytes.HasSuffix(first, []byte("\r")):
		return fault.New(fault.Misused, "%s has Windows line ends, so its first line names no program", path).Hint("sed -i 's/\\r$//' %s", path)
	case len(bytes.TrimSpace(interpreter)) == 0:
		return fault.New(fault.Misused, "the #! of %s names no program", path).Hint("#!/bin/sh as its first line")
	}
	return nil
}

// batch takes what a script's #SBATCH lines ask for where no flag says otherwise.
func (c *submitCmd) batch(spec *job.Spec, path string, text []byte) error {
	shared := func(folder string) bool { return spec.IsShared(absolute(folder)) }
	b, err := slurm.Read(slurm.Input{Path: path, Script: text, Now: time.Now(), Shared: shared})
	if err != nil {
		return err
	}
	c.warnings = b.Warnings
	flags := *spec
	if flags.CPUs == 1 { // unless it was said, which cannot be told apart
		flags.CPUs = 0
	}
	flags.Env = append(slurm.Exported(os.Environ(), b.Export), spec.Env...)
	*spec = over(b.Spec, flags)
	spec.CPUs = max(1, spec.CPUs)
	c.Wait, c.Array = c.Wait || b.Wait, spec.Array
	return nil
}

// over is a job as a script asks for it, with whatever else flags say in its place.
func over(script, flags job.Spec) job.Spec {
	to, from := reflect.ValueOf(&script).Elem(), reflect.ValueOf(flags)
	for i := range from.NumField() {
		if !from.Field(i).IsZero() {
			to.Field(i).Set(from.Field(i))
		}
	}
	return script
}
