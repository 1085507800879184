package cli

import (
	"cmp"
	"fmt"
	"os"

	"bramble/fault"
	"bramble/trust"
)

type clientCmd struct {
	Create clientCreateCmd `cmd:"" help:"Make a client file, with which a person or program asks this cluster from anywhere."`
	Revoke clientRevokeCmd `cmd:"" help:"End all of a person's client files and tokens."`
}

type clientCreateCmd struct {
	Name string `arg:"" help:"The person's or program's name."`
	Role string `help:"viewer (may look), operator (may run and submit) or admin." default:"operator" enum:"viewer,operator,admin"`
	Out  string `short:"o" help:"File to write (default NAME.bramble)." placeholder:"FILE"`
}

func (clientCreateCmd) Examples() string {
	return `bramble client create ann --role operator   # writes ann.bramble
bramble nodes --cluster ann.bramble         # on ann's laptop
`
}

func (c *clientCreateCmd) Run(e *env) error {
	cl, err := e.open()
	if err != nil {
		return err
	}
	defer cl.Close()
	path := cmp.Or(c.Out, c.Name+trust.ClientFileExt)
	if _, err := os.Stat(path); err == nil {
		return fault.New(fault.Conflict, "%s exists already", path).Hint("-o another file")
	}
	cred, cluster, err := cl.Fleet.CreateClient(e.ctx, c.Name, trust.Role(c.Role), cl.Cred)
	if err != nil {
		return err
	}
	file := *cl.File
	file.Cluster = cluster
	if err := file.SetCredential(cred); err != nil {
		return err
	}
	if err := file.Save(path); err != nil {
		return err
	}
	fmt.Fprintf(e.out.Stdout, "%s lets %s in as %s; keep it secret\n", path, c.Name, c.Role)
	return nil
}

type clientRevokeCmd struct {
	Name string `arg:"" help:"The person's or program's name."`
}

func (clientRevokeCmd) Examples() string { return "bramble client revoke ann\n" }

func (c *clientRevokeCmd) Run(e *env) error {
	cl, err := e.open()
	if err != nil {
		return err
	}
	defer cl.Close()
	if err := cl.Fleet.RevokeClient(e.ctx, c.Name); err != nil {
		return err
	}
	fmt.Fprintf(e.out.Stdout, "%s is let in no more\n", c.Name)
	return nil
}
