package slurm

import (
	"slices"
	"strings"
)

// Exported is what of an environment goes to the job, as --export says it: ALL, NONE, NAME and NAME=VALUE with
// commas between. ALL leaves out what belongs to a machine or a session and would be wrong on another.
func Exported(environ []string, export string) []string {
	var out []string
	for item := range strings.SplitSeq(export, ",") {
		switch name, _, given := strings.Cut(item, "="); {
		case strings.EqualFold(item, "ALL"):
			for _, v := range environ {
				if travels(v) {
					out = append(out, v)
				}
			}
		case item == "" || strings.EqualFold(item, "NONE") || strings.EqualFold(item, "NIL"):
		case given && name != "":
			out = append(out, item)
		default:
			if i := slices.IndexFunc(environ, func(v string) bool { return strings.HasPrefix(v, name+"=") }); i >= 0 {
				out = append(out, environ[i])
			}
		}
	}
	return out
}

// Settled is what of an environment belongs to its machine, session or job, and is there whatever --export says.
func Settled(environ []string) []string {
	return slices.DeleteFunc(slices.Clone(environ), func(v string) bool { return travels(v) && !strings.HasPrefix(v, "PATH=") })
}

// travels reports whether a variable means the same on another machine.
func travels(v string) bool {
	name, _, _ := strings.Cut(v, "=")
	switch name {
	case "", "_", "HOME", "USER", "LOGNAME", "SHELL", "SHLVL", "PWD", "OLDPWD", "HOSTNAME", "HOST", "TMPDIR", "MAIL", "TERM", "TERMCAP",
		"DISPLAY", "WAYLAND_DISPLAY", "COLORTERM", "LS_COLORS", "LESSOPEN", "LESSCLOSE", "TMUX", "TMUX_PANE", "STY", "BASH_FUNC_module%%", "BASH_FUNC_ml%%":
		return false
	}
	return !slices.ContainsFunc([]string{"SSH_", "XDG_", "DBUS_", "GPG_", "SUDO_", "SLURM_", "SLURMD_", "SBATCH_", "BRAMBLE_"},
		func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}
