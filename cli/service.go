package cli

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"text/template"

	"bramble/agent"
	"bramble/fault"
)

type serviceCmd struct {
	Install   serviceInstallCmd   `cmd:"" help:"Have systemd run this machine's part of the cluster from now on."`
	Uninstall serviceUninstallCmd `cmd:"" help:"Stop that."`
}

const unitPath = "/etc/systemd/system/bramble.service"

// unit: the keeper and its tasks outlive a restart of the agent (KillMode=process), control groups are ours to
// divide (Delegate), and nothing is walled off, or `bramble run -- apt install` would break.
var unit = template.Must(template.New("unit").Parse(`[Unit]
Description=bramble: one cluster of many boards
Documentation=man:bramble(1)
After=network-online.target time-sync.target
Wants=network-online.target

[Service]
Type=notify
ExecStart={{.Exe}} {{.Verb}} --state {{.State}} --log info
Restart=always
RestartSec=2
Delegate=yes
KillMode=process
OOMScoreAdjust=-500
WatchdogSec=60
LimitNOFILE=65536
TasksMax=infinity

[Install]
WantedBy=multi-user.target
`))

type serviceInstallCmd struct {
	State string `help:"State folder." placeholder:"DIR" env:"BRAMBLE_STATE"`
	Print bool   `help:"Print the unit file instead."`
	Keep  string `help:"How much this machine's stores keep of files, each: the least recently used that nobody needs go first (0: no limit)." placeholder:"SIZE" env:"-"`
}

func (serviceInstallCmd) Examples() string {
	return `sudo bramble join 10.0.0.1 --token bt1-… --once && sudo bramble service install
bramble service install --print
`
}

func (c *serviceInstallCmd) Run(e *env) error {
	state := stateFolder(c.State)
	l := agent.Layout(state)
	verb := "join"
	switch {
	case l.IsHead():
		verb = "up"
	case !l.IsNode() && !c.Print:
		return fault.New(fault.NotFound, "this machine is in no cluster yet (looked in %s), so there is nothing to run", state).
			Hint("bramble up --once, or bramble join HEAD --token TOKEN --once, then bramble service install")
	}
	if !c.Print {
		if err := setKeep(state, l.IsHead(), c.Keep); err != nil {
			return err
		}
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	var text strings.Builder
	if err := unit.Execute(&text, map[string]string{"Exe": exe, "Verb": verb, "State": state}); err != nil {
		return err
	}
	if c.Print {
		_, err := fmt.Fprint(e.out.Stdout, text.String())
		return err
	}
	if err := needSystemd(); err != nil {
		return err
	}
	if err := os.WriteFile(unitPath, []byte(text.String()), 0o644); err != nil {
		return fault.New(fault.Denied, "write %s: %w", unitPath, err).Hint("sudo bramble service install")
	}
	if err := systemctl("daemon-reload"); err != nil {
		return err
	}
	if err := systemctl("enable", "--now", "bramble.service"); err != nil {
		return err
	}
	fmt.Fprintf(e.out.Stdout, "bramble.service runs `bramble %s` now and at every start (journalctl -u bramble)\n", verb)
	return nil
}

type serviceUninstallCmd struct{}

func (serviceUninstallCmd) Examples() string { return "sudo bramble service uninstall\n" }

func (c *serviceUninstallCmd) Run(e *env) error {
	if err := needSystemd(); err != nil {
		return err
	}
	if _, err := os.Stat(unitPath); err != nil {
		return fault.New(fault.NotFound, "there is no %s", unitPath).Hint("systemctl status bramble")
	}
	if err := systemctl("disable", "--now", "bramble.service"); err != nil {
		return err
	}
	if err := os.Remove(unitPath); err != nil {
		return fault.New(fault.Denied, "remove %s: %w", unitPath, err).Hint("sudo bramble service uninstall")
	}
	fmt.Fprintln(e.out.Stdout, "bramble.service is removed; the state folder stays")
	return systemctl("daemon-reload")
}

func needSystemd() error {
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		return fault.New(fault.Failed, "systemd does not run on this machine").
			Hint("have your own supervisor run `bramble up` or `bramble join`; bramble service install --print shows what systemd would be told")
	}
	if os.Geteuid() != 0 {
		return fault.New(fault.Denied, "only root may change services").Hint("sudo bramble service install")
	}
	return nil
}

func systemctl(args ...string) error {
	out, err := exec.Command("systemctl", args...).CombinedOutput()
	if err != nil {
		return fault.New(fault.Failed, "systemctl %s: %s", strings.Join(args, " "), strings.TrimSpace(string(out))).Hint("systemctl status bramble")
	}
	return nil
}
