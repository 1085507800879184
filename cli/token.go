package cli

import (
	"fmt"
	"time"

	"bramble/fault"
	"bramble/fleet"
	"bramble/term"
	"bramble/trust"
)

type tokenCmd struct {
	Create tokenCreateCmd `cmd:"" help:"Make a token and print the line to type."`
	List   tokenListCmd   `cmd:"" help:"List the tokens."`
	Revoke tokenRevokeCmd `cmd:"" help:"End a token."`
}

type tokenCreateCmd struct {
	TTL  string `help:"How long it lasts, such as 1h or 7d." default:"24h"`
	Uses int    `help:"How many machines may use it; 0 for any number." default:"0"`
	User string `env:"-" help:"Make a token that signs this person in to the dashboard, instead of one for joining."`
	Role string `help:"What that person may do: viewer, operator or admin." default:"operator" enum:"viewer,operator,admin"`
	JSON bool   `help:"Print JSON."`
}

func (tokenCreateCmd) Examples() string {
	return `bramble token create --ttl 1h --uses 4
bramble token create --user ann --role viewer
`
}

func (c *tokenCreateCmd) Run(e *env) error {
	ttl, err := term.ParseDuration(c.TTL)
	switch {
	case err != nil:
		return err
	case ttl <= 0:
		return fault.New(fault.Misused, "a token that lasts %s lets nobody in", c.TTL).Hint("--ttl 1h")
	case c.Uses < 0:
		return fault.New(fault.Misused, "--uses takes a number, not %d", c.Uses).Hint("--uses 4, or 0 for any number of machines")
	}
	cl, err := e.open()
	if err != nil {
		return err
	}
	defer cl.Close()
	spec := trust.TokenSpec{Kind: trust.KindNode, TTL: ttl, Max: c.Uses}
	if c.User != "" {
		spec.Kind, spec.User, spec.Role = trust.KindClient, c.User, trust.Role(c.Role)
	}
	token, info, err := cl.Fleet.CreateToken(e.ctx, spec)
	if err != nil {
		return err
	}
	s := e.out.Stdout
	switch {
	case c.JSON:
		return term.JSON(s, map[string]any{"token": token, "id": info.ID, "kind": info.Kind, "expires": info.Expires})
	case c.User != "":
		fmt.Fprintf(s, "%s\n", token)
		fmt.Fprintf(e.out.Stderr, "Sign in with it at %s; it lasts %s.\n", cl.File.Web, term.Duration(ttl))
	case s.IsTerminal():
		fmt.Fprintf(s, "bramble join %s --token %s\n", headOf(cl.File), token)
	default:
		fmt.Fprintln(s, token)
	}
	return nil
}

// headOf is the address to join at, without the usual port.
func headOf(f *trust.ClientFile) string {
	if usual := fmt.Sprintf(":%d", fleet.PeerPort); len(f.Join) > len(usual) && f.Join[len(f.Join)-len(usual):] == usual {
		return f.Join[:len(f.Join)-len(usual)]
	}
	return f.Join
}

type tokenListCmd struct {
	JSON bool `help:"Print JSON."`
}

func (tokenListCmd) Examples() string { return "bramble token list\n" }

func (c *tokenListCmd) Run(e *env) error {
	cl, err := e.open()
	if err != nil {
		return err
	}
	defer cl.Close()
	tokens, err := cl.Fleet.Tokens(e.ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		return term.JSON(e.out.Stdout, append([]trust.TokenInfo{}, tokens...))
	}
	t := term.NewTable(term.Column{Title: "TOKEN"}, term.Column{Title: "FOR"}, term.Column{Title: "STATE"},
		term.Column{Title: "USED", Right: true}, term.Column{Title: "EXPIRES"})
	for _, i := range tokens {
		purpose := "joining"
		if i.Kind == trust.KindClient {
			purpose = i.User + " (" + string(i.Role) + ")"
		}
		used := fmt.Sprint(i.Uses)
		if i.Max > 0 {
			used = fmt.Sprintf("%d of %d", i.Uses, i.Max)
		}
		t.Row(i.ID, purpose, tokenState(i, time.Now()), used, i.Expires.Local().Format(time.DateTime))
	}
	return t.Write(e.out.Stdout)
}

func tokenState(i trust.TokenInfo, now time.Time) string {
	switch {
	case i.Revoked:
		return "revoked"
	case now.After(i.Expires):
		return "expired"
	case i.Max > 0 && i.Uses >= i.Max:
		return "used up"
	}
	return "good"
}

type tokenRevokeCmd struct {
	ID string `arg:"" help:"The token's id, its first eight characters."`
}

func (tokenRevokeCmd) Examples() string { return "bramble token list\nbramble token revoke k3x9t0qa\n" }

func (c *tokenRevokeCmd) Run(e *env) error {
	if token, err := trust.ParseToken(c.ID); err == nil { // the whole token was pasted
		c.ID = token.ID
	}
	if c.ID == "" {
		return fault.New(fault.Misused, "which token?").Hint("bramble token list")
	}
	cl, err := e.open()
	if err != nil {
		return err
	}
	defer cl.Close()
	if err := cl.Fleet.RevokeToken(e.ctx, c.ID); err != nil {
		return err
	}
	fmt.Fprintf(e.out.Stdout, "token %s is revoked\n", c.ID)
	return nil
}
